(* SPDX-FileCopyrightText: 2026 The q35 authors
   SPDX-License-Identifier: MIT *)
(* Rounding of the binary32 step y = (float)acc * (row_scale * token_scale). *)
Require Import ZArith Reals Lra Lia Psatz.
From Flocq Require Import Core Relative.
Open Scope R_scope.

(* binary32 without an upper limit: emin = -149, 24 bits, nearest even. *)
Definition rnd (x : R) : R := round radix2 (FLT_exp (-149) 24) ZnearestE x.
Definition normal (x : R) : Prop := bpow radix2 (-126) <= Rabs x.
Definition u : R := / 16777216. (* 2^-24 *)

Lemma u_is : / 2 * bpow radix2 (-24 + 1) = u.
Proof. unfold u. simpl. lra. Qed.

Lemma rnd_error : forall x, x = 0 \/ normal x -> exists e, Rabs e <= u /\ rnd x = x * (1 + e).
Proof.
  intros x [H|H].
  - exists 0. split.
    + rewrite Rabs_R0. unfold u. lra.
    + subst. unfold rnd. rewrite round_0; [ring | apply valid_rnd_N].
  - destruct (relative_error_N_FLT_ex radix2 (-149) 24 (eq_refl _) (fun n => negb (Z.even n)) x)
      as [e [He Hr]].
    + exact H.
    + exists e. split; [|exact Hr]. rewrite <- u_is. exact He.
Qed.

Lemma integer_is_normal : forall n : Z, IZR n = 0 \/ normal (IZR n).
Proof.
  intros n. destruct (Z.eq_dec n 0) as [->|N]; [left; reflexivity|right].
  unfold normal. rewrite <- abs_IZR. apply Rle_trans with 1.
  - change 1 with (bpow radix2 0). apply bpow_le. lia.
  - apply IZR_le. lia.
Qed.

Definition rescale (acc : Z) (row_scale token_scale : R) : R :=
  rnd (rnd (IZR acc) * rnd (row_scale * token_scale)).

(* Three roundings. No product may fall under the smallest normal number unless it is zero. *)
Theorem rescale_error : forall acc r t,
  r * t = 0 \/ normal (r * t) ->
  rnd (IZR acc) * rnd (r * t) = 0 \/ normal (rnd (IZR acc) * rnd (r * t)) ->
  Rabs (rescale acc r t - IZR acc * (r * t)) <= (3 * u + 4 * u * u) * Rabs (IZR acc * (r * t)).
Proof.
  intros acc r t H1 H2. unfold rescale.
  destruct (rnd_error _ H2) as [e3 [B3 ->]].
  destruct (rnd_error _ H1) as [e2 [B2 ->]].
  destruct (rnd_error _ (integer_is_normal acc)) as [e1 [B1 ->]].
  replace (IZR acc * (1 + e1) * (r * t * (1 + e2)) * (1 + e3) - IZR acc * (r * t))
    with ((e1 + e2 + e3 + (e1 * e2 + e1 * e3 + e2 * e3) + e1 * e2 * e3) * (IZR acc * (r * t)))
    by ring.
  rewrite Rabs_mult. apply Rmult_le_compat_r; [apply Rabs_pos|].
  assert (forall a b x y, Rabs a <= x -> Rabs b <= y -> Rabs (a * b) <= x * y) as M.
  { intros. rewrite Rabs_mult. apply Rmult_le_compat; auto using Rabs_pos. }
  pose proof (M _ _ _ _ B1 B2) as M12. pose proof (M _ _ _ _ B1 B3) as M13.
  pose proof (M _ _ _ _ B2 B3) as M23. pose proof (M _ _ _ _ M12 B3) as M123.
  apply Rabs_le_inv in B1, B2, B3, M12, M13, M23, M123.
  assert (u * u * u <= u * u) by (unfold u; lra).
  apply Rabs_le. lra.
Qed.

(* Accumulators of 24 bits convert exactly. *)
Theorem small_sums_convert_exactly : forall acc, (Z.abs acc < 2 ^ 24)%Z -> rnd (IZR acc) = IZR acc.
Proof.
  intros acc H. unfold rnd. apply round_generic; [apply valid_rnd_N|].
  apply generic_format_FLT. exists (Float radix2 acc 0); simpl; try lia.
  unfold F2R; simpl; ring.
Qed.

Print Assumptions rescale_error.
Print Assumptions small_sums_convert_exactly.
