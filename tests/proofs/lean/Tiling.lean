-- SPDX-FileCopyrightText: 2026 The q35 authors
-- SPDX-License-Identifier: MIT
-- The tiles of the LPU backend, backends/groq/mlir/tiling.h, fit their share of its memory.
import Constants
namespace Q35

/-- groq_tile_fixed_bytes, groq_tile_block_bytes -/
def tileFixed (cols k : Nat) : Nat :=
  blob_tables + 16 * 64 + 16 * cols + 4 * lpu_tokens + lpu_tokens * k * cols
def tileBlock (k : Nat) : Nat := tile_bytes * k + 128 + 128 * lpu_tokens

/-- groq_tile_choose: packed tiles along K, then blocks of 16 rows. -/
def kTiles (tiles cols : Nat) : Nat := min tiles (lpu_act_bytes / (lpu_tokens * cols))
def blocks (rows tiles cols : Nat) : Nat :=
  min ((lpu_tile_bytes - tileFixed cols (kTiles tiles cols)) / tileBlock (kTiles tiles cols)) (rows / 16)

private theorem room (tiles cols : Nat) (h : cols = 64 ∨ cols = 128 ∨ cols = 192) :
    tileFixed cols (kTiles tiles cols) + tileBlock (kTiles tiles cols) ≤ lpu_tile_bytes := by
  rcases h with rfl | rfl | rfl <;>
    (have := Nat.min_le_right tiles (lpu_act_bytes / (lpu_tokens * 64))
     have := Nat.min_le_right tiles (lpu_act_bytes / (lpu_tokens * 128))
     have := Nat.min_le_right tiles (lpu_act_bytes / (lpu_tokens * 192))
     simp only [tileFixed, tileBlock, kTiles, blob_tables, lpu_tokens, lpu_act_bytes, lpu_tile_bytes, tile_bytes] at *
     omega)

/-- A chosen tile touches at most GROQ_TILE_BYTES: 220 KB. -/
theorem tile_fits (rows tiles cols : Nat) (h : cols = 64 ∨ cols = 128 ∨ cols = 192) :
    tileFixed cols (kTiles tiles cols) + blocks rows tiles cols * tileBlock (kTiles tiles cols) ≤ lpu_tile_bytes := by
  have r := room tiles cols h
  have d := Nat.div_mul_le_self (lpu_tile_bytes - tileFixed cols (kTiles tiles cols)) (tileBlock (kTiles tiles cols))
  have m := Nat.mul_le_mul_right (tileBlock (kTiles tiles cols)) (Nat.min_le_left
    ((lpu_tile_bytes - tileFixed cols (kTiles tiles cols)) / tileBlock (kTiles tiles cols)) (rows / 16))
  simp only [blocks]
  omega

theorem tile_is_220_kb : lpu_tile_bytes = 220 * 1024 := by decide

/-- And it is never empty. -/
theorem tile_has_rows (rows tiles cols : Nat) (h : cols = 64 ∨ cols = 128 ∨ cols = 192) (hr : 16 ≤ rows) :
    0 < blocks rows tiles cols := by
  have r := room tiles cols h
  have p : 0 < tileBlock (kTiles tiles cols) := by simp only [tileBlock, lpu_tokens]; omega
  have d := Nat.div_pos (show tileBlock (kTiles tiles cols) ≤ lpu_tile_bytes - tileFixed cols (kTiles tiles cols) by omega) p
  simp only [blocks]
  omega

end Q35
