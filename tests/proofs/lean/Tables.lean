-- SPDX-FileCopyrightText: 2026 The q35 authors
-- SPDX-License-Identifier: MIT
-- How far a weight can be from the nearest code, on the shipped tables.
import Constants
namespace Q35

/-- The levels ascend, and no two neighbours are further apart than g. -/
def gapsAtMost (g : Int) : List Int → Bool
  | a :: b :: l => decide (a ≤ b ∧ b - a ≤ g) && gapsAtMost g (b :: l)
  | _ => true
/-- A value between the first and the last level has a level within half a gap. -/
private theorem level_near (g : Int) (x : Rat) (l : List Int) (a : Int) (h : gapsAtMost g (a :: l) = true)
    (hg : 0 ≤ g) (h0 : a ≤ x) (h1 : x ≤ (a :: l).getLast (by simp)) :
    ∃ v ∈ a :: l, -((g : Rat) / 2) ≤ x - v ∧ x - v ≤ (g : Rat) / 2 := by
  induction l generalizing a with
  | nil =>
    simp only [List.getLast_singleton] at h1
    have : ((0 : Int) : Rat) ≤ (g : Rat) := Rat.intCast_le_intCast.mpr hg
    exact ⟨a, by simp, by grind⟩
  | cons b l ih =>
    simp only [gapsAtMost, Bool.and_eq_true, decide_eq_true_eq] at h
    have hd : ((b - a : Int) : Rat) ≤ (g : Rat) := Rat.intCast_le_intCast.mpr h.1.2
    have hab : (a : Rat) ≤ (b : Rat) := Rat.intCast_le_intCast.mpr h.1.1
    by_cases hb : x < b
    · by_cases hm : x - a ≤ (g : Rat) / 2
      · exact ⟨a, by simp, by grind⟩
      · exact ⟨b, by simp, by grind⟩
    · obtain ⟨v, hv, hd⟩ := ih b h.2 (by grind) (by simpa using h1)
      exact ⟨v, by simp [hv] , hd⟩

private theorem le_last (g : Int) (l : List Int) (a : Int) (h : gapsAtMost g (a :: l) = true) :
    ∀ v ∈ a :: l, v ≤ (a :: l).getLast (by simp) := by
  induction l generalizing a with
  | nil => simp
  | cons b l ih =>
    simp only [gapsAtMost, Bool.and_eq_true, decide_eq_true_eq] at h
    have i := ih b h.2
    intro v hv
    simp only [List.getLast_cons_cons]
    rcases List.mem_cons.mp hv with e | e
    · have := i b (by simp)
      omega
    · exact i v e

/-- Is the square of side h at (x, y) within the distance sqrt r2 of the point p? -/
def cellNear (h r2 x y : Int) (p : Int × Int) : Bool :=
  let corner (u v : Int) := decide ((u - p.1) * (u - p.1) + (v - p.2) * (v - p.2) ≤ r2)
  corner x y && corner x (y + h) && corner (x + h) y && corner (x + h) (y + h)

/-- One row of squares from x on, each with its point. -/
def rowNear (h r2 y : Int) : Int → List (Int × Int) → Bool
  | _, [] => true
  | x, p :: l => cellNear h r2 x y p && rowNear h r2 y (x + h) l

/-- Rows of squares from y on. -/
def gridNear (h r2 x : Int) : Int → List (List (Int × Int)) → Bool
  | _, [] => true
  | y, r :: l => rowNear h r2 y x r && gridNear h r2 x (y + h) l

/-- (u, v) is within the distance sqrt r2 of p. -/
def Near (r2 : Int) (u v : Rat) (p : Int × Int) : Prop :=
  (u - p.1) * (u - p.1) + (v - p.2) * (v - p.2) ≤ r2

/-- A square is largest at an end of an interval. -/
private theorem square_at_end (x h a u : Rat) (h0 : x ≤ u) (h1 : u ≤ x + h) :
    (u - a) * (u - a) ≤ (x - a) * (x - a) ∨ (u - a) * (u - a) ≤ (x + h - a) * (x + h - a) := by
  by_cases c : u + x ≤ 2 * a
  · have := Rat.mul_nonneg (show 0 ≤ u - x by grind) (show 0 ≤ 2 * a - u - x by grind)
    left; grind
  · have := Rat.mul_nonneg (show 0 ≤ x + h - u by grind) (show 0 ≤ x + h + u - 2 * a by grind)
    right; grind

private theorem cell_near {h r2 x y : Int} {p : Int × Int} (c : cellNear h r2 x y p = true) {u v : Rat}
    (h0 : x ≤ u) (h1 : u ≤ x + h) (h2 : y ≤ v) (h3 : v ≤ y + h) : Near r2 u v p := by
  simp only [cellNear, Bool.and_eq_true, decide_eq_true_eq] at c
  have c0 := Rat.intCast_le_intCast.mpr c.1.1.1
  have c1 := Rat.intCast_le_intCast.mpr c.1.1.2
  have c2 := Rat.intCast_le_intCast.mpr c.1.2
  have c3 := Rat.intCast_le_intCast.mpr c.2
  simp only [Rat.intCast_add, Rat.intCast_sub, Rat.intCast_mul] at c0 c1 c2 c3
  have a := square_at_end x h p.1 u h0 h1
  have b := square_at_end y h p.2 v h2 h3
  unfold Near
  generalize (u - p.1) * (u - p.1) = U at *
  generalize (v - p.2) * (v - p.2) = V at *
  rcases a with a | a <;> rcases b with b | b <;> grind

private theorem row_near {h r2 y : Int} {u v : Rat} (h2 : y ≤ v) (h3 : v ≤ y + h) :
    ∀ (l : List (Int × Int)) (x : Int), rowNear h r2 y x l = true → l ≠ [] → x ≤ u →
      u ≤ x + h * l.length → ∃ p ∈ l, Near r2 u v p
  | [], _, _, n, _, _ => absurd rfl n
  | p :: l, x, r, _, h0, h1 => by
    simp only [rowNear, Bool.and_eq_true] at r
    have n : ((p :: l).length : Rat) = l.length + 1 := by simp
    by_cases c : u ≤ x + h
    · exact ⟨p, by simp, cell_near r.1 h0 c h2 h3⟩
    · have e : l ≠ [] := by
        intro e
        subst e
        simp at h1
        grind
      have s : ((x + h : Int) : Rat) = x + h := by simp
      rw [n] at h1
      obtain ⟨q, hq, d⟩ := row_near (u := u) h2 h3 l (x + h) r.2 e (by rw [s]; grind) (by rw [s]; grind)
      exact ⟨q, by simp [hq], d⟩

private theorem grid_near {h r2 x : Int} {n : Nat} {u v : Rat} (hn : n ≠ 0) (h0 : x ≤ u) (h1 : u ≤ x + h * n) :
    ∀ (l : List (List (Int × Int))) (y : Int), gridNear h r2 x y l = true → l ≠ [] →
      (∀ r ∈ l, r.length = n) → y ≤ v → v ≤ y + h * l.length → ∃ p ∈ l.flatten, Near r2 u v p
  | [], _, _, e, _, _, _ => absurd rfl e
  | r :: l, y, g, _, w, h2, h3 => by
    simp only [gridNear, Bool.and_eq_true] at g
    have m : ((r :: l).length : Rat) = l.length + 1 := by simp
    have wr := w r (by simp)
    by_cases c : v ≤ y + h
    · obtain ⟨p, hp, d⟩ := row_near h2 c r x g.1 (by intro e; subst e; simp at wr; omega) h0 (by rw [wr]; exact h1)
      exact ⟨p, by simp [hp], d⟩
    · have e : l ≠ [] := by
        intro e
        subst e
        simp at h3
        grind
      have s : ((y + h : Int) : Rat) = y + h := by simp
      rw [m] at h3
      obtain ⟨q, hq, d⟩ := grid_near (v := v) hn h0 h1 l (y + h) g.2 e (fun t ht => w t (by simp [ht]))
        (by rw [s]; grind) (by rw [s]; grind)
      exact ⟨q, by rw [List.flatten_cons]; exact List.mem_append_right _ hq, d⟩

/-! The levels of ALT43: 16 for the even weight of a pair, 8 for the odd one, all combined. -/

theorem alt43_separable :
    (levels0_1.all fun u => levels1_1.all fun v => (a0_1.zip a1_1).contains (u, v)) = true := by decide +kernel

theorem alt43_gaps : gapsAtMost gap0_1 levels0_1 = true ∧ gapsAtMost gap1_1 levels1_1 = true := by decide +kernel

/-- Within the levels' range some code is within half the widest gap, times the row's scale s, in both weights. -/
theorem alt43_error (s u v : Rat) (hs : 0 < s)
    (u0 : (levels0_1.head (by decide) : Int) ≤ u) (u1 : u ≤ (levels0_1.getLast (by decide) : Int))
    (v0 : (levels1_1.head (by decide) : Int) ≤ v) (v1 : v ≤ (levels1_1.getLast (by decide) : Int)) :
    ∃ p ∈ a0_1.zip a1_1, (-(s * (gap0_1 / 2)) ≤ s * u - s * p.1 ∧ s * u - s * p.1 ≤ s * (gap0_1 / 2))
      ∧ (-(s * (gap1_1 / 2)) ≤ s * v - s * p.2 ∧ s * v - s * p.2 ≤ s * (gap1_1 / 2)) := by
  obtain ⟨p, hp, p0, p1⟩ := level_near gap0_1 u levels0_1.tail (levels0_1.head (by decide)) alt43_gaps.1 (by decide) u0 u1
  obtain ⟨q, hq, q0, q1⟩ := level_near gap1_1 v levels1_1.tail (levels1_1.head (by decide)) alt43_gaps.2 (by decide) v0 v1
  have m := alt43_separable
  simp only [List.all_eq_true, List.contains_iff_mem] at m
  have := scaled hs p0
  have := scaled hs p1
  have := scaled hs q0
  have := scaled hs q1
  exact ⟨(p, q), m p (by simpa using hp) q (by simpa using hq), by grind, by grind⟩

/-- Above the last level no level is nearer than the last one: the error is what sticks out. (Below: by symmetry.) -/
theorem alt43_outside (u : Rat) :
    ∀ p ∈ levels0_1, u - (levels0_1.getLast (by decide) : Int) ≤ u - p := by
  intro p hp
  have e : p ≤ levels0_1.getLast (by decide) :=
    le_last gap0_1 levels0_1.tail (levels0_1.head (by decide)) alt43_gaps.1 p (by simpa using hp)
  have := Rat.intCast_le_intCast.mpr e
  grind

/-- 7-bit single weights: within half the widest gap. -/
theorem single_error (s u : Rat) (hs : 0 < s)
    (u0 : (levels0_5.head (by decide) : Int) ≤ u) (u1 : u ≤ (levels0_5.getLast (by decide) : Int)) :
    ∃ p ∈ levels0_5, -(s * (gap0_5 / 2)) ≤ s * u - s * p ∧ s * u - s * p ≤ s * (gap0_5 / 2) := by
  have g : gapsAtMost gap0_5 levels0_5 = true := by decide +kernel
  obtain ⟨p, hp, p0, p1⟩ := level_near gap0_5 u levels0_5.tail (levels0_5.head (by decide)) g (by decide) u0 u1
  have := scaled hs p0
  have := scaled hs p1
  exact ⟨p, by simpa using hp, by grind⟩

/-! Codebooks of pairs. generate.py lays squares of side cover_h over the middle of the codebook and gives each
the best code; that all corners are within sqrt cover_r2 of it is checked here, so the whole square is. -/

theorem vq2_grid : gridNear cover_h cover_r2_2 cover_x_2 cover_y_2 cover_2 = true
    ∧ (cover_2.all fun r => r.length == cover_n_2 && r.all fun p => (a0_2.zip a1_2).contains p) = true := by
  decide +kernel

/-- Every pair in the covered square has a code within the covering radius. -/
theorem vq2_covering (u v : Rat)
    (u0 : cover_x_2 ≤ u) (u1 : u ≤ cover_x_2 + cover_h * cover_n_2)
    (v0 : cover_y_2 ≤ v) (v1 : v ≤ cover_y_2 + cover_h * cover_2.length) :
    ∃ p ∈ a0_2.zip a1_2, Near cover_r2_2 (u) (v) p := by
  have g := vq2_grid
  simp only [List.all_eq_true, Bool.and_eq_true, beq_iff_eq, List.contains_iff_mem] at g
  obtain ⟨p, hp, d⟩ := grid_near (by decide) u0 u1 cover_2 cover_y_2 g.1 (by decide) (fun r hr => (g.2 r hr).1) v0 v1
  obtain ⟨r, hr, hpr⟩ := List.mem_flatten.mp hp
  exact ⟨p, (g.2 r hr).2 p hpr, d⟩

theorem trellis_grid : gridNear cover_h cover_r2_3 cover_x_3 cover_y_3 cover_3 = true
    ∧ (cover_3.all fun r => r.length == cover_n_3 && r.all fun p => (a0_3.zip a1_3).contains p) = true := by
  decide +kernel

/-- The same for a code after given ones, whose B terms have moved the codebook by (s, t). -/
theorem trellis_covering (u v s t : Rat)
    (u0 : cover_x_3 ≤ u - s) (u1 : u - s ≤ cover_x_3 + cover_h * cover_n_3)
    (v0 : cover_y_3 ≤ v - t) (v1 : v - t ≤ cover_y_3 + cover_h * cover_3.length) :
    ∃ p ∈ a0_3.zip a1_3, Near cover_r2_3 (u - s) (v - t) p := by
  have g := trellis_grid
  simp only [List.all_eq_true, Bool.and_eq_true, beq_iff_eq, List.contains_iff_mem] at g
  obtain ⟨p, hp, d⟩ := grid_near (by decide) u0 u1 cover_3 cover_y_3 g.1 (by decide) (fun r hr => (g.2 r hr).1) v0 v1
  obtain ⟨r, hr, hpr⟩ := List.mem_flatten.mp hp
  exact ⟨p, (g.2 r hr).2 p hpr, d⟩

theorem trellis2_grid : gridNear cover_h cover_r2_4 cover_x_4 cover_y_4 cover_4 = true
    ∧ (cover_4.all fun r => r.length == cover_n_4 && r.all fun p => (a0_4.zip a1_4).contains p) = true := by
  decide +kernel

/-- The same for a code after given ones, whose B terms have moved the codebook by (s, t). -/
theorem trellis2_covering (u v s t : Rat)
    (u0 : cover_x_4 ≤ u - s) (u1 : u - s ≤ cover_x_4 + cover_h * cover_n_4)
    (v0 : cover_y_4 ≤ v - t) (v1 : v - t ≤ cover_y_4 + cover_h * cover_4.length) :
    ∃ p ∈ a0_4.zip a1_4, Near cover_r2_4 (u - s) (v - t) p := by
  have g := trellis2_grid
  simp only [List.all_eq_true, Bool.and_eq_true, beq_iff_eq, List.contains_iff_mem] at g
  obtain ⟨p, hp, d⟩ := grid_near (by decide) u0 u1 cover_4 cover_y_4 g.1 (by decide) (fun r hr => (g.2 r hr).1) v0 v1
  obtain ⟨r, hr, hpr⟩ := List.mem_flatten.mp hp
  exact ⟨p, (g.2 r hr).2 p hpr, d⟩

end Q35
