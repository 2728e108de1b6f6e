-- SPDX-FileCopyrightText: 2026 The q35 authors
-- SPDX-License-Identifier: MIT
-- The error of a matrix-vector product from the errors of its parts.
import Constants
namespace Q35

/-- |a b| ≤ p q when |a| ≤ p and |b| ≤ q. -/
private theorem product_bound {a b p q : Rat} (h0 : -p ≤ a) (h1 : a ≤ p) (h2 : -q ≤ b) (h3 : b ≤ q) :
    -(p * q) ≤ a * b ∧ a * b ≤ p * q := by
  have w := Rat.mul_nonneg (show 0 ≤ p - a by grind) (show 0 ≤ q - b by grind)
  have x := Rat.mul_nonneg (show 0 ≤ p + a by grind) (show 0 ≤ q + b by grind)
  have y := Rat.mul_nonneg (show 0 ≤ p - a by grind) (show 0 ≤ q + b by grind)
  have z := Rat.mul_nonneg (show 0 ≤ p + a by grind) (show 0 ≤ q - b by grind)
  grind

/-- A weight and an activation, and what they become after quantizing. -/
structure Term where
  w : Rat
  w' : Rat
  x : Rat
  x' : Rat

def dot (f g : Term → Rat) : List Term → Rat
  | [] => 0
  | t :: l => f t * g t + dot f g l

/-- One output y = sum w x of a matrix: its error is at most K times the parts, |w| times the activations' error and
the weights' error times |x'|. -/
theorem matvec_error (W X ew ex : Rat) (l : List Term)
    (h : ∀ t ∈ l, (-W ≤ t.w ∧ t.w ≤ W) ∧ (-X ≤ t.x' ∧ t.x' ≤ X)
      ∧ (-ew ≤ t.w - t.w' ∧ t.w - t.w' ≤ ew) ∧ (-ex ≤ t.x - t.x' ∧ t.x - t.x' ≤ ex)) :
    -(l.length * (W * ex + ew * X)) ≤ dot (·.w) (·.x) l - dot (·.w') (·.x') l
    ∧ dot (·.w) (·.x) l - dot (·.w') (·.x') l ≤ l.length * (W * ex + ew * X) := by
  induction l with
  | nil => simp [dot]; grind
  | cons t l ih =>
    have i := ih fun u hu => h u (by simp [hu])
    obtain ⟨hw, hx, dw, dx⟩ := h t (by simp)
    have p := product_bound hw.1 hw.2 dx.1 dx.2
    have q := product_bound dw.1 dw.2 hx.1 hx.2
    have n : ((t :: l).length : Rat) = l.length + 1 := by simp
    rw [n]
    simp only [dot]
    grind

/-- With the contract's constants: activations of scale s, at most 127 s with error s / 2; weights of row scale r, at most
W r with error e r (e: half the gap of ALT43's levels, or the covering radius of a codebook). -/
theorem matvec_error_contract (s r W e : Rat) (l : List Term)
    (h : ∀ t ∈ l, (-(r * W) ≤ t.w ∧ t.w ≤ r * W) ∧ (-(s * w_max) ≤ t.x' ∧ t.x' ≤ s * w_max)
      ∧ (-(r * e) ≤ t.w - t.w' ∧ t.w - t.w' ≤ r * e) ∧ (-(s / 2) ≤ t.x - t.x' ∧ t.x - t.x' ≤ s / 2)) :
    -(l.length * (r * s * (W / 2 + w_max * e))) ≤ dot (·.w) (·.x) l - dot (·.w') (·.x') l
    ∧ dot (·.w) (·.x) l - dot (·.w') (·.x') l ≤ l.length * (r * s * (W / 2 + w_max * e)) := by
  have b := matvec_error (r * W) (s * w_max) (r * e) (s / 2) l h
  have c : r * W * (s / 2) + r * e * (s * w_max) = r * s * (W / 2 + w_max * e) := by grind
  rw [c] at b
  exact b

end Q35
