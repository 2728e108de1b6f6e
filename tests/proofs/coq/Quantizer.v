(* SPDX-FileCopyrightText: 2026 The q35 authors
   SPDX-License-Identifier: MIT *)
(* The activation quantizer over the reals: round half to even, then clamp to [-127, 127]. *)
Require Import ZArith Reals Lra Lia.
From Flocq Require Import Core.
Require Import Constants.
Open Scope R_scope.

Definition clamp (n : Z) : Z := Z.max (- w_max) (Z.min w_max n).
Definition quantize (s x : R) : Z := clamp (ZnearestE (x / s)).
Definition dequantize (s : R) (q : Z) : R := s * IZR q.

Theorem quantized_is_bounded : forall s x, (Z.abs (quantize s x) <= w_max)%Z.
Proof. intros. unfold quantize, clamp, w_max. lia. Qed.

Theorem dequantize_is_linear :
  forall s p q, dequantize s (p + q) = dequantize s p + dequantize s q.
Proof. intros. unfold dequantize. rewrite plus_IZR. ring. Qed.

Lemma nearest_within : forall t, Rabs t <= IZR w_max -> (Z.abs (ZnearestE t) <= w_max)%Z.
Proof.
  intros t H. apply Rabs_le_inv in H. destruct H as [L U].
  assert (ZnearestE t <= w_max)%Z.
  { rewrite <- (Zrnd_IZR ZnearestE w_max). apply Zrnd_le; [apply valid_rnd_N | exact U]. }
  assert (- w_max <= ZnearestE t)%Z.
  { rewrite <- (Zrnd_IZR ZnearestE (- w_max)). apply Zrnd_le; [apply valid_rnd_N|].
    rewrite opp_IZR. exact L. }
  lia.
Qed.

Lemma scale_out : forall s x n, 0 < s -> x - s * IZR n = s * (x / s - IZR n).
Proof. intros. field. lra. Qed.

(* Within the range that the scale can represent: half a step. *)
Theorem error_within_range : forall s x, 0 < s -> Rabs x <= IZR w_max * s ->
  Rabs (x - dequantize s (quantize s x)) <= s / 2.
Proof.
  intros s x Hs Hx.
  assert (Rabs (x / s) <= IZR w_max) as Ht.
  { unfold Rdiv. rewrite Rabs_mult, (Rabs_pos_eq (/ s)).
    - apply Rmult_le_reg_r with s; [lra|]. rewrite Rmult_assoc, Rinv_l by lra. lra.
    - left. apply Rinv_0_lt_compat; lra. }
  pose proof (nearest_within _ Ht) as B.
  unfold dequantize, quantize, clamp.
  replace (Z.max (- w_max) (Z.min w_max (ZnearestE (x / s)))) with (ZnearestE (x / s)) by lia.
  rewrite scale_out by lra. rewrite Rabs_mult, (Rabs_pos_eq s) by lra.
  pose proof (Znearest_half (fun n => negb (Z.even n)) (x / s)) as N.
  replace (s / 2) with (s * / 2) by field. apply Rmult_le_compat_l; lra.
Qed.

(* Outside it: exactly the part that sticks out, on either side. *)
Lemma above : forall s x, 0 < s -> IZR w_max * s < x -> quantize s x = w_max.
Proof.
  intros s x Hs Hx. unfold quantize, clamp.
  assert (w_max <= ZnearestE (x / s))%Z.
  { rewrite <- (Zrnd_IZR ZnearestE w_max) at 1. apply Zrnd_le; [apply valid_rnd_N|].
    apply Rmult_le_reg_r with s; [lra|]. unfold Rdiv. rewrite Rmult_assoc, Rinv_l; lra. }
  unfold w_max in *; lia.
Qed.

Lemma below : forall s x, 0 < s -> x < - (IZR w_max * s) -> (quantize s x = - w_max)%Z.
Proof.
  intros s x Hs Hx. unfold quantize, clamp.
  assert (ZnearestE (x / s) <= - w_max)%Z.
  { rewrite <- (Zrnd_IZR ZnearestE (- w_max)). apply Zrnd_le; [apply valid_rnd_N|].
    rewrite opp_IZR. apply Rmult_le_reg_r with s; [lra|]. unfold Rdiv.
    rewrite Rmult_assoc, Rinv_l; lra. }
  unfold w_max in *; lia.
Qed.

Theorem error_with_clamping : forall s x, 0 < s -> IZR w_max * s < Rabs x ->
  Rabs (x - dequantize s (quantize s x)) = Rabs x - IZR w_max * s.
Proof.
  intros s x Hs Hx.
  assert (0 < IZR w_max * s) as P by (unfold w_max; lra).
  unfold dequantize. destruct (Rle_or_lt 0 x) as [X|X].
  - rewrite (Rabs_pos_eq x X) in *. rewrite above by assumption.
    rewrite Rabs_pos_eq; lra.
  - rewrite (Rabs_left x X) in *. rewrite below by lra.
    rewrite opp_IZR. rewrite Rabs_left1; lra.
Qed.

(* The scale of the contract is max|x| / 127, so no element of the token is out of range. *)
Corollary error_of_a_token : forall top x, 0 < top -> Rabs x <= top ->
  Rabs (x - dequantize (top / IZR w_max) (quantize (top / IZR w_max) x)) <= top / IZR w_max / 2.
Proof. intros. apply error_within_range; unfold w_max; lra. Qed.

Print Assumptions quantized_is_bounded.
Print Assumptions dequantize_is_linear.
Print Assumptions error_within_range.
Print Assumptions error_with_clamping.
Print Assumptions error_of_a_token.
