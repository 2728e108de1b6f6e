-- SPDX-FileCopyrightText: 2026 The q35 authors
-- SPDX-License-Identifier: MIT
-- Lists what each theorem rests on: `#print axioms` does not work in this build of Lean. The proofs of Lean's own
-- library are not in its package, so its theorems are met too, told apart from axioms. Plain recursion, because the
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

/-- A theorem of the library is left out, what is neither that nor an axiom is a function of it. -/
def kindText (env : Environment) (n : Name) : String :=
  match getOriginalConstKind? env n with
  | some .thm => ""
  | some .axiom => (" axiom:".append (nameText n))
  | _ => (" other:".append (nameText n))

def listText (env : Environment) : List Name → String
  | [] => ""
  | a :: l => (kindText env a).append (listText env l)

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
