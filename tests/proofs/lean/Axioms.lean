-- SPDX-FileCopyrightText: 2026 The q35 authors
-- SPDX-License-Identifier: MIT
-- Lists what each theorem rests on: `#print axioms` does not work in this build of Lean. The proofs of Lean's own
-- library are not in its package, so its theorems are listed too, told apart from axioms. Plain recursion, because the
-- interpreter of this build lacks most specialised loops. THEOREMS is filled in by lean.py.
import Lean.Util.CollectAxioms
import Lean.Elab.Command
namespace Q35
open Lean Elab Command

def nameText : Name → String
  | .anonymous => ""
  | .str .anonymous s => s
  | .str p s => (nameText p).append (".".append s)
  | .num p _ => nameText p

def kindText (env : Environment) (n : Name) : String :=
  match getOriginalConstKind? env n with
  | some .thm => "theorem:"
  | some .axiom => "axiom:"
  | _ => "other:"

def listText (env : Environment) : List Name → String
  | [] => ""
  | a :: l => ((" ".append (kindText env a)).append (nameText a)).append (listText env l)

def printAxioms (env : Environment) : List Name → IO Unit
  | [] => pure ()
  | n :: l => do
    let used := (((CollectAxioms.collect n).run env).run {}).2.axioms.toList
    IO.println (("RESTS ".append (nameText n)).append (listText env used))
    printAxioms env l

run_cmd
  let env ← getEnv
  printAxioms env [THEOREMS]

end Q35
