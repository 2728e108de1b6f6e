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

/-- The ring of TRELLIS2, q35_code_before: the code k places before code (r, j) of a tile. -/
def beforeRow (r k : Nat) : Nat := (r + tile_rows - k) % tile_rows
def beforeCode (r j k : Nat) : Nat := if r < k then (j + tile_codes - 1) % tile_codes else j

/-- The 1024 codes of a tile, column after column, are one ring, and `before` goes back along it. -/
theorem before_is_ring (r j k : Nat) (hr : r < tile_rows) (hj : j < tile_codes) (h0 : 1 ≤ k) (h2 : k ≤ 2) :
    tile_rows * beforeCode r j k + beforeRow r k =
      (tile_rows * j + r + tile_rows * tile_codes - k) % (tile_rows * tile_codes) := by
  simp only [beforeRow, beforeCode, tile_rows, tile_codes] at *
  split <;> omega

/-- The code itself and the two before it are three different places, all inside the tile. -/
theorem ring_places (r j : Nat) (hr : r < tile_rows) (hj : j < tile_codes) :
    beforeRow r 1 < tile_rows ∧ beforeRow r 2 < tile_rows
    ∧ beforeCode r j 1 < tile_codes ∧ beforeCode r j 2 < tile_codes
    ∧ beforeRow r 1 ≠ r ∧ beforeRow r 2 ≠ r ∧ beforeRow r 1 ≠ beforeRow r 2 := by
  simp only [beforeRow, beforeCode, tile_rows, tile_codes] at *
  refine ⟨?_, ?_, ?_, ?_, ?_, ?_, ?_⟩ <;> first | omega | (split <;> omega)

def weight2 (a b : Nat → Int) (code : Nat → Nat → Nat) (r j : Nat) : Int :=
  a (code r j) + b_step * b (code (beforeRow r 1) (beforeCode r j 1) ^^^ code (beforeRow r 2) (beforeCode r j 2))

theorem weight_of_three_codes (a b : Nat → Int) (x y : Nat → Nat → Nat) (r j : Nat)
    (h0 : x r j = y r j)
    (h1 : x (beforeRow r 1) (beforeCode r j 1) = y (beforeRow r 1) (beforeCode r j 1))
    (h2 : x (beforeRow r 2) (beforeCode r j 2) = y (beforeRow r 2) (beforeCode r j 2)) :
    weight2 a b x r j = weight2 a b y r j := by
  simp only [weight2, h0, h1, h2]

/-- A tile in which one code is changed. -/
def change (x : Nat → Nat → Nat) (r j c : Nat) : Nat → Nat → Nat :=
  fun r' j' => if r' = r ∧ j' = j then c else x r' j'

/-- And both codes do matter, wherever the tables tell them apart: changing either changes the weight. -/
theorem own_code_matters (a b : Nat → Int) (x : Nat → Nat → Nat) (r j c : Nat) (hr : r < tile_rows)
    (h : a (x r j) ≠ a c) : weight a b (change x r j c) r j ≠ weight a b x r j := by
  have n := above_is_another r hr
  simp only [weight, change, n, and_self, if_true, false_and, if_false]
  omega

theorem code_above_matters (a b : Nat → Int) (x : Nat → Nat → Nat) (r j c : Nat) (hr : r < tile_rows)
    (h : b (x (above r) j) ≠ b c) : weight a b (change x (above r) j c) r j ≠ weight a b x r j := by
  have n := (above_is_another r hr).symm
  simp only [weight, change, n, and_self, if_true, false_and, if_false, b_step]
  omega

/-- Byte i of a number. -/
def byteOf (n i : Nat) : Nat := n / 256 ^ i % 256

/-- Eight codes as the number of 56 bits that their seven bytes are. -/
def group (c : Nat → Nat) : Nat :=
  c 0 + 2 ^ 7 * c 1 + 2 ^ 14 * c 2 + 2 ^ 21 * c 3 + 2 ^ 28 * c 4 + 2 ^ 35 * c 5 + 2 ^ 42 * c 6 + 2 ^ 49 * c 7

/-- Byte i of the row that holds the codes c. -/
def pack (c : Nat → Nat) (i : Nat) : Nat := byteOf (group fun k => c (8 * (i / 7) + k)) (i % 7)

/-- q35_code_get: code j of a row of bytes. -/
def unpack (row : Nat → Nat) (j : Nat) : Nat :=
  (row (7 * j / 8) + if 7 * j % 8 > 1 then 256 * row (7 * j / 8 + 1) else 0) / 2 ^ (7 * j % 8) % 128

/-- Packing 64 codes and reading them back gives them again, in every place of a row. -/
theorem unpack_pack (c : Nat → Nat) (h : ∀ j, c j < 128) (j : Nat) : unpack (pack c) j = c j := by
  obtain ⟨g, k, hk, rfl⟩ : ∃ g k, k < 8 ∧ j = 8 * g + k := ⟨j / 8, j % 8, by omega, by omega⟩
  have h0 := h (8 * g); have h1 := h (8 * g + 1); have h2 := h (8 * g + 2); have h3 := h (8 * g + 3)
  have h4 := h (8 * g + 4); have h5 := h (8 * g + 5); have h6 := h (8 * g + 6); have h7 := h (8 * g + 7)
  have at7 (i : Nat) (_ : i < 7) : (7 * g + i) / 7 = g ∧ (7 * g + i) % 7 = i := by omega
  have bit : 7 * (8 * g + k) / 8 = 7 * g + 7 * k / 8 ∧ 7 * (8 * g + k) % 8 = 7 * k % 8 := by omega
  simp only [unpack, bit.1, bit.2, Nat.add_assoc]
  match k, hk with
  | 0, _ | 1, _ | 2, _ | 3, _ | 4, _ | 5, _ | 6, _ | 7, _ =>
    simp [pack, byteOf, group, at7]
    omega

/-- And every 56 bytes are the packing of the codes that are read from them. -/
theorem pack_unpack (b : Nat → Nat) (h : ∀ i, b i < 256) (i : Nat) : pack (unpack b) i = b i := by
  obtain ⟨g, k, hk, rfl⟩ : ∃ g k, k < 7 ∧ i = 7 * g + k := ⟨i / 7, i % 7, by omega, by omega⟩
  have h0 := h (7 * g); have h1 := h (7 * g + 1); have h2 := h (7 * g + 2); have h3 := h (7 * g + 3)
  have h4 := h (7 * g + 4); have h5 := h (7 * g + 5); have h6 := h (7 * g + 6)
  have at7 : (7 * g + k) / 7 = g ∧ (7 * g + k) % 7 = k := by omega
  have bit (j : Nat) : 7 * (8 * g + j) / 8 = 7 * g + 7 * j / 8 ∧ 7 * (8 * g + j) % 8 = 7 * j % 8 := by omega
  simp only [pack, at7.1, at7.2, group, unpack, (bit _).1, (bit _).2]
  match k, hk with
  | 0, _ | 1, _ | 2, _ | 3, _ | 4, _ | 5, _ | 6, _ =>
    simp [byteOf, Nat.add_assoc]
    omega

end Q35
