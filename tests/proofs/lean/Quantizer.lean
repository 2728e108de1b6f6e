-- SPDX-FileCopyrightText: 2026 The q35 authors
-- SPDX-License-Identifier: MIT
-- The activation quantizer over the rationals: round half to even, then clamp.
import Constants
namespace Q35

/-- Round to the nearest integer, half to even: what rintf does. -/
def roundEven (x : Rat) : Int :=
  if x - x.floor < 1 / 2 then x.floor
  else if 1 / 2 < x - x.floor then x.floor + 1
  else if x.floor % 2 = 0 then x.floor else x.floor + 1

def clamp (n : Int) : Int := if n < -w_max then -w_max else if w_max < n then w_max else n
def quantize (s x : Rat) : Int := clamp (roundEven (x / s))
def dequantize (s : Rat) (q : Int) : Rat := s * q

private theorem floor_bounds (x : Rat) : x.floor ≤ x ∧ x < x.floor + 1 := by
  have := Rat.floor_le x
  have := Rat.lt_floor_add_one x
  grind

private theorem round_half (x : Rat) : -(1 / 2) ≤ x - roundEven x ∧ x - roundEven x ≤ 1 / 2 := by
  have := floor_bounds x
  unfold roundEven
  split
  · grind
  · split
    · grind
    · split <;> grind

/-- A tie goes to the even neighbour. -/
theorem round_tie_even (n : Int) : roundEven (n + 1 / 2) % 2 = 0 := by
  have f : ((n : Rat) + 1 / 2).floor = n := by
    have h := floor_bounds ((n : Rat) + 1 / 2)
    have a : (((n : Rat) + 1 / 2).floor : Rat) < ((n + 1 : Int) : Rat) := by grind
    have b : (n : Rat) < ((((n : Rat) + 1 / 2).floor + 1 : Int) : Rat) := by grind
    have := Rat.intCast_lt_intCast.mp a
    have := Rat.intCast_lt_intCast.mp b
    omega
  unfold roundEven
  rw [f]
  grind

theorem quantized_is_bounded (s x : Rat) : -w_max ≤ quantize s x ∧ quantize s x ≤ w_max := by
  simp only [quantize, clamp, w_max]
  grind

theorem dequantize_is_linear (s : Rat) (p q : Int) :
    dequantize s (p + q) = dequantize s p + dequantize s q := by
  simp only [dequantize]
  grind

/-- Multiplying an inequality by a scale. -/
private theorem scaled {s a b : Rat} (hs : 0 < s) (h : a ≤ b) : s * a ≤ s * b :=
  Rat.mul_le_mul_of_nonneg_left h (Rat.le_of_lt hs)

private theorem unscaled {s a b : Rat} (hs : 0 < s) (h : s * a ≤ s * b) : a ≤ b := by
  have hn : ¬ b < a := by
    intro hb
    have := Rat.mul_pos hs (show 0 < a - b by grind)
    grind
  grind

/-- An integer bound survives rounding. -/
private theorem round_le (x : Rat) (n : Int) (h : x ≤ n) : roundEven x ≤ n := by
  have b := round_half x
  have c : (roundEven x : Rat) < ((n + 1 : Int) : Rat) := by grind
  have := Rat.intCast_lt_intCast.mp c
  omega

private theorem le_round (x : Rat) (n : Int) (h : n ≤ x) : n ≤ roundEven x := by
  have b := round_half x
  have c : ((n - 1 : Int) : Rat) < (roundEven x : Rat) := by grind
  have := Rat.intCast_lt_intCast.mp c
  omega

/-- Within the range of the scale: half a step. -/
theorem error_within_range (s x : Rat) (hs : 0 < s) (h0 : -(s * w_max) ≤ x) (h1 : x ≤ s * w_max) :
    -(s / 2) ≤ x - dequantize s (quantize s x) ∧ x - dequantize s (quantize s x) ≤ s / 2 := by
  have hx : s * (x / s) = x := by grind
  have hl : (((-127 : Int)) : Rat) ≤ x / s := unscaled hs (by simp only [w_max] at *; grind)
  have hu : x / s ≤ ((127 : Int) : Rat) := unscaled hs (by simp only [w_max] at *; grind)
  have q : quantize s x = roundEven (x / s) := by
    have := le_round _ _ hl
    have := round_le _ _ hu
    simp only [quantize, clamp, w_max]
    grind
  have r := round_half (x / s)
  have a := scaled hs r.1
  have b := scaled hs r.2
  rw [q]
  simp only [dequantize]
  grind

/-- Outside the range: exactly what sticks out, on either side. -/
theorem above_range (s x : Rat) (hs : 0 < s) (h : s * w_max < x) :
    x - dequantize s (quantize s x) = x - s * w_max := by
  have hx : s * (x / s) = x := by grind
  have hu : ((127 : Int) : Rat) ≤ x / s := unscaled hs (by simp only [w_max] at *; grind)
  have := le_round _ _ hu
  have q : quantize s x = 127 := by
    simp only [quantize, clamp, w_max]
    grind
  rw [q]
  simp only [dequantize, w_max]
  grind

theorem below_range (s x : Rat) (hs : 0 < s) (h : x < -(s * w_max)) :
    x - dequantize s (quantize s x) = x + s * w_max := by
  have hx : s * (x / s) = x := by grind
  have hu : x / s ≤ ((-127 : Int) : Rat) := unscaled hs (by simp only [w_max] at *; grind)
  have := round_le _ _ hu
  have q : quantize s x = -127 := by
    simp only [quantize, clamp, w_max]
    grind
  rw [q]
  simp only [dequantize, w_max]
  grind

/-- With the contract's scale, max|x| / 127, no element of a token is out of range. -/
theorem error_of_a_token (top x : Rat) (ht : 0 < top) (h0 : -top ≤ x) (h1 : x ≤ top) :
    -(top / w_max / 2) ≤ x - dequantize (top / w_max) (quantize (top / w_max) x)
    ∧ x - dequantize (top / w_max) (quantize (top / w_max) x) ≤ top / w_max / 2 :=
  error_within_range (top / w_max) x (by simp only [w_max]; grind) (by simp only [w_max]; grind)
    (by simp only [w_max]; grind)

end Q35
