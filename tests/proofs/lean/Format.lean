-- SPDX-FileCopyrightText: 2026 The q35 authors
-- SPDX-License-Identifier: MIT
-- The packed format over the natural numbers and the integers. Constants is written by generate.py.
import Constants
namespace Q35

/-- Bit b (0..6) of code j in row r of a tile, counted from the start of the tile. -/
def bitOf (r j b : Nat) : Nat := 8 * row_bytes * r + code_bits * j + b

/-- The bits of a tile are used once each. -/
theorem bit_one_to_one (r j b r' j' b' : Nat)
    (hj : j < tile_codes) (hj' : j' < tile_codes) (hb : b < code_bits) (hb' : b' < code_bits)
    (h : bitOf r j b = bitOf r' j' b') : r = r' ∧ j = j' ∧ b = b' := by
  simp only [bitOf, row_bytes, code_bits, tile_codes] at *
  omega

/-- And none lies outside the tile. -/
theorem bit_in_tile (r j b : Nat) (hr : r < tile_rows) (hj : j < tile_codes) (hb : b < code_bits) :
    bitOf r j b < 8 * tile_bytes := by
  simp only [bitOf, row_bytes, code_bits, tile_codes, tile_rows, tile_bytes] at *
  omega

/-- Every bit of a tile belongs to some code. -/
theorem bit_onto (n : Nat) (h : n < 8 * tile_bytes) :
    ∃ r j b, r < tile_rows ∧ j < tile_codes ∧ b < code_bits ∧ bitOf r j b = n := by
  refine ⟨n / 448, n % 448 / 7, n % 448 % 7, ?_⟩
  simp only [bitOf, row_bytes, code_bits, tile_codes, tile_rows, tile_bytes] at *
  omega

/-- Column of a tile (0..127) to the code that holds it and which of its two weights it is. -/
theorem column_one_to_one (c c' : Nat)
    (hj : c % tile_codes = c' % tile_codes) (hw : c / tile_codes = c' / tile_codes) : c = c' := by
  simp only [tile_codes] at *
  omega

/-- q35_code_get reads only bytes of its row. -/
theorem get_in_row (j : Nat) (h : j < tile_codes) :
    code_bits * j / 8 < row_bytes ∧
    (code_bits * j % 8 > 1 → code_bits * j / 8 + 1 < row_bytes) := by
  simp only [code_bits, tile_codes, row_bytes] at *
  omega

/-- A row decodes from codes of row r and of the row above, which is another row of the tile. -/
def above (r : Nat) : Nat := (r + tile_rows - 1) % tile_rows

theorem above_in_tile (r : Nat) : above r < tile_rows := by
  simp only [above, tile_rows]
  omega

theorem above_is_another (r : Nat) (h : r < tile_rows) : above r ≠ r := by
  simp only [above, tile_rows] at *
  omega

def weight (a : Nat → Int) (b : Nat → Int) (code : Nat → Nat → Nat) (r j : Nat) : Int :=
  a (code r j) + b_step * b (code (above r) j)

/-- Tail-biting is well defined: two tiles that agree in the two codes give the same weight. -/
theorem weight_of_two_codes (a b : Nat → Int) (x y : Nat → Nat → Nat) (r j : Nat)
    (h0 : x r j = y r j) (h1 : x (above r) j = y (above r) j) :
    weight a b x r j = weight a b y r j := by
  simp only [weight, h0, h1]

/-- Products of a row and their sum in any order: trees of additions. -/
inductive Sum where
  | zero : Sum
  | product (w q : Int) : Sum
  | add (l r : Sum) : Sum

def Sum.value : Sum → Int
  | .zero => 0
  | .product w q => w * q
  | .add l r => l.value + r.value

def Sum.products : Sum → Int
  | .zero => 0
  | .product _ _ => 1
  | .add l r => l.products + r.products

def Sum.InRange : Sum → Prop
  | .zero => True
  | .product w q => -w_max ≤ w ∧ w ≤ w_max ∧ -w_max ≤ q ∧ q ≤ w_max
  | .add l r => l.InRange ∧ r.InRange

theorem product_bound (w q m : Int) (h0 : -m ≤ w) (h1 : w ≤ m) (h2 : -m ≤ q) (h3 : q ≤ m) :
    w * q ≤ m * m ∧ -(m * m) ≤ w * q := by
  have a := Int.mul_nonneg (Int.sub_nonneg_of_le h1) (Int.sub_nonneg_of_le h3)
  have b := Int.mul_nonneg (show (0 : Int) ≤ m + w by omega) (show (0 : Int) ≤ m + q by omega)
  have c := Int.mul_nonneg (Int.sub_nonneg_of_le h1) (show (0 : Int) ≤ m + q by omega)
  have d := Int.mul_nonneg (show (0 : Int) ≤ m + w by omega) (Int.sub_nonneg_of_le h3)
  simp only [Int.sub_mul, Int.mul_sub, Int.add_mul, Int.mul_add] at a b c d
  omega

theorem value_bound (s : Sum) (h : s.InRange) :
    s.value ≤ s.products * 16129 ∧ -(s.products * 16129) ≤ s.value ∧ 0 ≤ s.products := by
  induction s with
  | zero => simp [Sum.value, Sum.products]
  | product w q =>
    have b := product_bound w q 127 h.1 h.2.1 h.2.2.1 h.2.2.2
    simp only [Sum.value, Sum.products]
    omega
  | add l r hl hr =>
    have a := hl h.1
    have b := hr h.2
    simp only [Sum.value, Sum.products]
    omega

/-- No int32 overflow; applied to every subtree it covers every partial sum. -/
theorem sum_fits_int32 (s : Sum) (h : s.InRange) (k : s.products ≤ max_cols) :
    -int32_max - 1 ≤ s.value ∧ s.value ≤ int32_max := by
  have b := value_bound s h
  simp only [max_cols, int32_max] at *
  omega

/-- A part of a sum has no more products than the whole, so the theorem applies to it. -/
theorem parts_are_smaller (l r : Sum) (h : (Sum.add l r).InRange) :
    l.products ≤ (Sum.add l r).products ∧ r.products ≤ (Sum.add l r).products := by
  have a := value_bound l h.1
  have b := value_bound r h.2
  simp only [Sum.products]
  omega

end Q35
