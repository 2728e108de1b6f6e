-- SPDX-FileCopyrightText: 2026 The q35 authors
-- SPDX-License-Identifier: MIT
-- The int32 sum of a packed dot product.
import Constants
namespace Q35

/-- Products of a row and their sum in any order: trees of additions. -/
inductive Sum where
  | zero : Sum
  | product (w q : Int) : Sum
  | add (l r : Sum) : Sum

def Sum.value : Sum → Int
  | .zero => 0
  | .product w q => w * q
  | .add l r => l.value + r.value

/-- How many products a sum has. -/
def Sum.products : Sum → Int
  | .zero => 0
  | .product _ _ => 1
  | .add l r => l.products + r.products

def Sum.InRange : Sum → Prop
  | .zero => True
  | .product w q => -w_max ≤ w ∧ w ≤ w_max ∧ -w_max ≤ q ∧ q ≤ w_max
  | .add l r => l.InRange ∧ r.InRange

private theorem int_product_bound (w q m : Int) (h0 : -m ≤ w) (h1 : w ≤ m) (h2 : -m ≤ q) (h3 : q ≤ m) :
    w * q ≤ m * m ∧ -(m * m) ≤ w * q := by
  have a := Int.mul_nonneg (Int.sub_nonneg_of_le h1) (Int.sub_nonneg_of_le h3)
  have b := Int.mul_nonneg (show (0 : Int) ≤ m + w by omega) (show (0 : Int) ≤ m + q by omega)
  have c := Int.mul_nonneg (Int.sub_nonneg_of_le h1) (show (0 : Int) ≤ m + q by omega)
  have d := Int.mul_nonneg (show (0 : Int) ≤ m + w by omega) (Int.sub_nonneg_of_le h3)
  simp only [Int.sub_mul, Int.mul_sub, Int.add_mul, Int.mul_add] at a b c d
  omega

private theorem value_bound (s : Sum) (h : s.InRange) :
    s.value ≤ s.products * 16129 ∧ -(s.products * 16129) ≤ s.value ∧ 0 ≤ s.products := by
  induction s with
  | zero => simp [Sum.value, Sum.products]
  | product w q =>
    have b := int_product_bound w q 127 h.1 h.2.1 h.2.2.1 h.2.2.2
    simp only [Sum.value, Sum.products]
    omega
  | add l r hl hr =>
    have a := hl h.1
    have b := hr h.2
    simp only [Sum.value, Sum.products]
    omega

/-- No int32 overflow. -/
theorem sum_fits_int32 (s : Sum) (h : s.InRange) (k : s.products ≤ max_cols) :
    -int32_max - 1 ≤ s.value ∧ s.value ≤ int32_max := by
  have b := value_bound s h
  simp only [max_cols, int32_max] at *
  omega

/-- Every intermediate value of a sum is an int32, not only the last one. -/
def Sum.NoOverflow : Sum → Prop
  | .zero => True
  | .product w q => -int32_max - 1 ≤ w * q ∧ w * q ≤ int32_max
  | .add l r => (-int32_max - 1 ≤ l.value + r.value ∧ l.value + r.value ≤ int32_max) ∧ l.NoOverflow ∧ r.NoOverflow

/-- So in whatever order and grouping a row is summed, nothing overflows on the way. -/
theorem every_partial_sum (s : Sum) (h : s.InRange) (k : s.products ≤ max_cols) : s.NoOverflow := by
  induction s with
  | zero => exact trivial
  | product w q => exact sum_fits_int32 (.product w q) h k
  | add l r hl hr =>
    have a := value_bound l h.1
    have b := value_bound r h.2
    have f := sum_fits_int32 (.add l r) h k
    simp only [Sum.products, Sum.value] at k f
    exact ⟨f, hl h.1 (by omega), hr h.2 (by omega)⟩

/-- Products that are not zero for sure: a padding column's activation is. -/
def Sum.counted : Sum → Int
  | .zero => 0
  | .product _ q => if q = 0 then 0 else 1
  | .add l r => l.counted + r.counted

private theorem counted_bound (s : Sum) (h : s.InRange) :
    s.value ≤ s.counted * 16129 ∧ -(s.counted * 16129) ≤ s.value ∧ 0 ≤ s.counted := by
  induction s with
  | zero => simp [Sum.value, Sum.counted]
  | product w q =>
    have b := int_product_bound w q 127 h.1 h.2.1 h.2.2.1 h.2.2.2
    simp only [Sum.value, Sum.counted]
    split
    · next e => subst e; simp
    · omega
  | add l r hl hr =>
    have a := hl h.1
    have b := hr h.2
    simp only [Sum.value, Sum.counted]
    omega

/-- So the columns up to the padded K may be summed as well, although there can be more than max_cols of them. -/
theorem padding_is_free (s : Sum) (h : s.InRange) (k : s.counted ≤ max_cols) : s.NoOverflow := by
  induction s with
  | zero => exact trivial
  | product w q =>
    have b := int_product_bound w q 127 h.1 h.2.1 h.2.2.1 h.2.2.2
    simp only [Sum.NoOverflow, int32_max]
    omega
  | add l r hl hr =>
    have a := counted_bound l h.1
    have b := counted_bound r h.2
    simp only [Sum.counted, max_cols] at k
    refine ⟨?_, hl h.1 (by simp only [max_cols]; omega), hr h.2 (by simp only [max_cols]; omega)⟩
    simp only [int32_max]
    omega

/-- One column more can overflow. -/
theorem bound_is_exact : (max_cols + 1) * (w_max * w_max) > int32_max := by decide

theorem ffn_28672 (s : Sum) (h : s.InRange) (k : s.products ≤ 28672) : s.NoOverflow :=
  every_partial_sum s h (by simp only [max_cols]; omega)

theorem cols_8192 (s : Sum) (h : s.InRange) (k : s.products ≤ 8192) : s.NoOverflow :=
  every_partial_sum s h (by simp only [max_cols]; omega)

end Q35
