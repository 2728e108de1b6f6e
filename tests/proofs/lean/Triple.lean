-- SPDX-FileCopyrightText: 2026 The q35 authors
-- SPDX-License-Identifier: MIT
-- Three weights a code: ranges, sums, the last tile of a row, and how far a weight can be from the nearest code.
import Constants
namespace Q35

/-- What a byte of B adds to the third weight of a code, in units of b_step: q35_b_third. -/
def third (b : Nat) : Nat := (b / 16 ^^^ b) % 16

/-- B's share of weight d (0, 1, 2), and the table of the weight's own share. -/
def share (d b : Nat) : Nat := if d = 0 then b / 16 else if d = 1 then b % 16 else third b
def own (d : Nat) : List Int := if d = 0 then a0_6 else if d = 1 then a1_6 else a2_6

def triple (d : Nat) (x b : Int) : Int := x + b_step * (share d b.toNat : Int)

private theorem in_range : ([0, 1, 2].all fun d => (own d).all fun x => b_6.all fun b =>
    decide (-w_max ≤ triple d x b) && decide (triple d x b ≤ w_max)) = true := by decide +kernel

/-- Whatever a code and the code above it, all three weights lie in [-127, 127]. -/
theorem triple_in_range (d : Nat) (h : d < 3) (x b : Int) (hx : x ∈ own d) (hb : b ∈ b_6) :
    -w_max ≤ triple d x b ∧ triple d x b ≤ w_max := by
  have r := in_range
  simp only [List.all_eq_true, Bool.and_eq_true, decide_eq_true_eq] at r
  have m : d ∈ [0, 1, 2] := by
    simp only [List.mem_cons, List.not_mem_nil, or_false]
    omega
  exact r d m x hx b hb

/-- A sum whose products are of decoded weights and quantized activations. -/
def Sum.OfTriples : Sum → Prop
  | .zero => True
  | .product w q => (∃ d x b, d < 3 ∧ x ∈ own d ∧ b ∈ b_6 ∧ w = triple d x b) ∧ -w_max ≤ q ∧ q ≤ w_max
  | .add l r => l.OfTriples ∧ r.OfTriples

private theorem triples_in_range (s : Sum) (h : s.OfTriples) : s.InRange := by
  induction s with
  | zero => exact trivial
  | product w q =>
    obtain ⟨⟨d, x, b, hd, hx, hb, e⟩, h0, h1⟩ := h
    have r := triple_in_range d hd x b hx hb
    rw [← e] at r
    exact ⟨r.1, r.2, h0, h1⟩
  | add l r hl hr => exact ⟨hl h.1, hr h.2⟩

/-- A row of triples is summed without overflow, in any order, over its padding too. -/
theorem triple_sum_fits (s : Sum) (h : s.OfTriples) (k : s.counted ≤ max_cols) : s.NoOverflow :=
  padding_is_free s (triples_in_range s h) k

/-! The columns of a row: q35_pad_cols, q35_tiles_per_row and q35_tile_used for tiles of three segments. -/

def padded (cols : Nat) : Nat := (cols + (col_align - 1)) / col_align * col_align
def tiles (cols : Nat) : Nat := (padded cols + (3 * tile_codes - 1)) / (3 * tile_codes)
def used (cols k : Nat) : Nat :=
  if padded cols - k * (3 * tile_codes) < 3 * tile_codes then padded cols - k * (3 * tile_codes) else 3 * tile_codes

/-- Every column of a padded row lies in a tile that there is, in the part that is used ... -/
theorem column_in_tile (cols c : Nat) (h : c < padded cols) :
    c / (3 * tile_codes) < tiles cols ∧ c % (3 * tile_codes) < used cols (c / (3 * tile_codes)) := by
  simp only [used, tiles, padded, col_align, tile_codes, Nat.reduceMul, Nat.reduceSub] at *
  split <;> omega

/-- ... and what is used of a tile are columns of the padded row. -/
theorem used_in_row (cols k i : Nat) (hi : i < used cols k) :
    k * (3 * tile_codes) + i < padded cols := by
  simp only [used, padded, col_align, tile_codes, Nat.reduceMul, Nat.reduceSub] at *
  split at hi <;> omega

/-- A segment, one weight of each code, is used whole or not at all. -/
theorem segments_whole (cols k s : Nat) : tile_codes * (s + 1) ≤ used cols k ∨ used cols k ≤ tile_codes * s := by
  simp only [used, padded, col_align, tile_codes, Nat.reduceMul, Nat.reduceSub]
  split <;> omega

/-- No tile is for nothing, and all but the last are used whole. -/
theorem only_last_tile_short (cols k : Nat) (h : k < tiles cols) :
    tile_codes ≤ used cols k ∧ (k + 1 < tiles cols → used cols k = 3 * tile_codes) := by
  simp only [used, tiles, padded, col_align, tile_codes, Nat.reduceMul, Nat.reduceSub] at *
  split <;> omega

/-! The codebook in three dimensions, as those of pairs in two: cubes of side cover_h over its middle. -/

/-- The largest squared distance from a to a point of [x, x + h]. -/
def far (h x a : Int) : Int :=
  if (x - a) * (x - a) ≤ (x + h - a) * (x + h - a) then (x + h - a) * (x + h - a) else (x - a) * (x - a)

def cubeNear (h r2 x y z : Int) (p : Int × Int × Int) : Bool :=
  decide (far h x p.1 + far h y p.2.1 + far h z p.2.2 ≤ r2)

/-- Steps of h from x on, each with what belongs to it. -/
def steps {α : Type} (ok : Int → α → Bool) (h : Int) : Int → List α → Bool
  | _, [] => true
  | x, p :: l => ok x p && steps ok h (x + h) l

def Near3 (r2 : Int) (u v w : Rat) (p : Int × Int × Int) : Prop :=
  (u - p.1) * (u - p.1) + (v - p.2.1) * (v - p.2.1) + (w - p.2.2) * (w - p.2.2) ≤ r2

private theorem far_bound {h x a : Int} {u : Rat} (h0 : x ≤ u) (h1 : u ≤ x + h) : (u - a) * (u - a) ≤ far h x a := by
  have e := square_at_end x h a u h0 h1
  unfold far
  split
  · next c =>
    have c := Rat.intCast_le_intCast.mpr c
    simp only [Rat.intCast_add, Rat.intCast_sub, Rat.intCast_mul] at *
    rcases e with e | e <;> grind
  · next c =>
    have c := Rat.intCast_le_intCast.mpr (show (x + h - a) * (x + h - a) ≤ (x - a) * (x - a) by omega)
    simp only [Rat.intCast_add, Rat.intCast_sub, Rat.intCast_mul] at *
    rcases e with e | e <;> grind

private theorem step_at {α : Type} {ok : Int → α → Bool} {h : Int} {u : Rat} :
    ∀ (l : List α) (x : Int), steps ok h x l = true → l ≠ [] → x ≤ u → u ≤ x + h * l.length →
      ∃ p ∈ l, ∃ at_ : Int, ok at_ p = true ∧ at_ ≤ u ∧ u ≤ at_ + h
  | [], _, _, n, _, _ => absurd rfl n
  | p :: l, x, r, _, h0, h1 => by
    simp only [steps, Bool.and_eq_true] at r
    have n : ((p :: l).length : Rat) = l.length + 1 := by simp
    by_cases c : u ≤ x + h
    · exact ⟨p, by simp, x, r.1, h0, c⟩
    · have e : l ≠ [] := by
        intro e
        subst e
        simp at h1
        grind
      have s : ((x + h : Int) : Rat) = x + h := by simp
      rw [n] at h1
      obtain ⟨q, hq, d⟩ := step_at (u := u) l (x + h) r.2 e (by rw [s]; grind) (by rw [s]; grind)
      exact ⟨q, by simp [hq], d⟩

theorem triple_grid : (steps (fun z plane => plane.length == cover_m_6 && steps (fun y row => row.length == cover_n_6 &&
      steps (fun x p => cubeNear cover_h cover_r2_6 x y z p) cover_h cover_x_6 row) cover_h cover_y_6 plane)
      cover_h cover_z_6 cover_6) = true
    ∧ (cover_6.all fun plane => plane.all fun row => row.all fun p => (a0_6.zip (a1_6.zip a2_6)).contains p) = true := by
  decide +kernel

/-- Every three weights in the middle of the codebook, moved by the B terms (r, s, t) of the code above, have a code
within the covering radius. -/
theorem triple_covering (u v w r s t : Rat)
    (u0 : cover_x_6 ≤ u - r) (u1 : u - r ≤ cover_x_6 + cover_h * cover_n_6)
    (v0 : cover_y_6 ≤ v - s) (v1 : v - s ≤ cover_y_6 + cover_h * cover_m_6)
    (w0 : cover_z_6 ≤ w - t) (w1 : w - t ≤ cover_z_6 + cover_h * cover_6.length) :
    ∃ p ∈ a0_6.zip (a1_6.zip a2_6), Near3 cover_r2_6 (u - r) (v - s) (w - t) p := by
  obtain ⟨g, m⟩ := triple_grid
  simp only [List.all_eq_true, List.contains_iff_mem] at m
  obtain ⟨plane, hplane, z, g, z0, z1⟩ := step_at (u := w - t) _ _ g (by decide) w0 w1
  simp only [Bool.and_eq_true, beq_iff_eq] at g
  obtain ⟨row, hrow, y, g, y0, y1⟩ := step_at (u := v - s) _ _ g.2 (by intro e; rw [e] at g; exact absurd g.1 (by decide)) v0
    (by rw [g.1]; exact v1)
  simp only [Bool.and_eq_true, beq_iff_eq] at g
  obtain ⟨p, hp, x, g, x0, x1⟩ := step_at (u := u - r) _ _ g.2 (by intro e; rw [e] at g; exact absurd g.1 (by decide)) u0
    (by rw [g.1]; exact u1)
  refine ⟨p, m plane hplane row hrow p hp, ?_⟩
  simp only [cubeNear, decide_eq_true_eq] at g
  have g := Rat.intCast_le_intCast.mpr g
  simp only [Rat.intCast_add] at g
  have a := far_bound (a := p.1) x0 x1
  have b := far_bound (a := p.2.1) y0 y1
  have c := far_bound (a := p.2.2) z0 z1
  unfold Near3
  grind

end Q35
