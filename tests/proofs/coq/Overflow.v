(* SPDX-FileCopyrightText: 2026 The q35 authors
   SPDX-License-Identifier: MIT *)
(* The int32 sum of a packed dot product never overflows, in whatever order it is summed. *)
Require Import ZArith List Lia.
Require Import Constants.
Import ListNotations.
Open Scope Z_scope.

(* An order of summation: any tree of additions over products w * q, and zeros to start from. *)
Inductive sum :=
| Zero
| Product (w q : Z)
| Add (left right : sum).

Fixpoint value (s : sum) : Z :=
  match s with Zero => 0 | Product w q => w * q | Add l r => value l + value r end.

Fixpoint products (s : sum) : Z :=
  match s with Zero => 0 | Product _ _ => 1 | Add l r => products l + products r end.

Fixpoint in_range (s : sum) : Prop :=
  match s with
  | Zero => True
  | Product w q => Z.abs w <= w_max /\ Z.abs q <= w_max
  | Add l r => in_range l /\ in_range r
  end.

Definition int32 (v : Z) := - int32_max - 1 <= v <= int32_max.

(* Every intermediate value, not only the last one. *)
Fixpoint no_overflow (s : sum) : Prop :=
  int32 (value s) /\
  match s with Add l r => no_overflow l /\ no_overflow r | _ => True end.

Lemma products_nonneg : forall s, 0 <= products s.
Proof. induction s; simpl; lia. Qed.

Lemma value_bound : forall s, in_range s -> Z.abs (value s) <= products s * (w_max * w_max).
Proof.
  induction s; simpl; intros H.
  - lia.
  - unfold w_max in *. rewrite Z.abs_mul. nia.
  - destruct H as [Hl Hr]. specialize (IHs1 Hl). specialize (IHs2 Hr). unfold w_max in *. lia.
Qed.

Theorem sum_fits_int32 : forall s, in_range s -> products s <= max_cols -> no_overflow s.
Proof.
  induction s; intros H K; pose proof (value_bound _ H) as B; cbn [no_overflow];
    unfold int32; unfold max_cols, int32_max in *;
    change (w_max * w_max) with 16129 in B.
  - simpl in *; lia.
  - change (value (Product w q)) with (w * q) in *. simpl products in B. lia.
  - simpl products in K, B.
    pose proof (products_nonneg s1). pose proof (products_nonneg s2).
    destruct H as [Hl Hr].
    change (value (Add s1 s2)) with (value s1 + value s2) in *.
    split; [lia|]. split; [apply IHs1 | apply IHs2]; auto; lia.
Qed.

(* The bound is the largest one: with one more column a row of 127s overflows. *)
Theorem bound_is_exact : (max_cols + 1) * (w_max * w_max) > int32_max.
Proof. unfold max_cols, w_max, int32_max. lia. Qed.

(* The feed-forward size of the largest LLaMA, and the bound of the original project. *)
Corollary ffn_28672 : forall s, in_range s -> products s <= 28672 -> no_overflow s.
Proof. intros; apply sum_fits_int32; auto. unfold max_cols; lia. Qed.

Corollary cols_8192 : forall s, in_range s -> products s <= 8192 -> no_overflow s.
Proof. intros; apply sum_fits_int32; auto. unfold max_cols; lia. Qed.

(* What the shipped tables decode to lies in [-w_max, w_max], whatever the two codes are. *)
Definition fits (a b : list Z) (shift : Z) : bool :=
  forallb (fun x => forallb (fun y => Z.abs (x + b_step * (Z.shiftr y shift mod 16)) <=? w_max) b) a.

Theorem shipped_tables_in_range :
  forallb (fun t => match t with (a0, a1, b) => fits a0 b 4 && fits a1 b 0 end)%bool schemes = true.
Proof. vm_compute. reflexivity. Qed.

(* And the third weight of a code, whose share of B is the exclusive or of the nibbles. *)
Definition third (y : Z) : Z := Z.lxor (y / 16) y mod 16.

Theorem third_is_xor_of_nibbles :
  forallb (fun y => third y =? Z.lxor (Z.shiftr y 4) (y mod 16)) (map Z.of_nat (seq 0 256)) = true.
Proof. vm_compute. reflexivity. Qed.

Definition fits_third (a b : list Z) : bool :=
  forallb (fun x => forallb (fun y => Z.abs (x + b_step * third y) <=? w_max) b) a.

Theorem shipped_thirds_in_range :
  forallb (fun t => match t with (a2, b) => fits_third a2 b end) triples = true
  /\ (0 < length triples)%nat.
Proof. vm_compute. split; [reflexivity | repeat constructor]. Qed.

(* The sizes of the format fit together. *)
Theorem sizes_agree :
  tile_codes * code_bits = 8 * row_bytes /\ tile_rows * row_bytes = tile_bytes
  /\ 2 ^ code_bits = table_len /\ Z.of_nat (length (nth 0 (map (fun t => fst (fst t)) schemes) [])) = table_len.
Proof. vm_compute. intuition reflexivity. Qed.

Print Assumptions sum_fits_int32.
Print Assumptions bound_is_exact.
Print Assumptions ffn_28672.
Print Assumptions cols_8192.
Print Assumptions shipped_tables_in_range.
Print Assumptions shipped_thirds_in_range.
Print Assumptions third_is_xor_of_nibbles.
Print Assumptions sizes_agree.
