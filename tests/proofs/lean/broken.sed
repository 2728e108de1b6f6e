# Breaks eight theorems of Format.lean: one column too many, a bit too many, a byte too few ...
s/(k : s.products ≤ max_cols)/(k : s.products ≤ max_cols + 1)/
s/bitOf r j b < 8 \* tile_bytes := by/bitOf r j b < 8 * tile_bytes - 1 := by/
s/theorem bit_onto (n : Nat) (h : n < 8 \* tile_bytes)/theorem bit_onto (n : Nat) (h : n < 8 * tile_bytes + 1)/
s/above r ≠ r := by/above r ≠ 15 := by/
s/(hb' : b' < code_bits)$/(hb' : b' ≤ code_bits)/
s|c / tile_codes = c' / tile_codes|c / code_bits = c' / code_bits|
s|code_bits \* j / 8 + 1 < row_bytes|code_bits * j / 8 + 2 < row_bytes|
s/(h1 : x (above r) j = y (above r) j)/(h1 : x r j = y r j)/
