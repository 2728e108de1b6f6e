#!/bin/sh
# SPDX-FileCopyrightText: 2026 The q35 authors
# SPDX-License-Identifier: MIT
# embed.sh IMAGE SYMBOL OUT.c: a C file that carries IMAGE, with a zero after it, as SYMBOL.
set -e
image=$(readlink -f "$1")
cat >"$3" <<END
/* $(cksum <"$1") */
__asm__(".pushsection .rodata\n.balign 64\n.globl $2\n.hidden $2\n.type $2, %object\n$2:\n"
        ".incbin \"$image\"\n.byte 0\n.size $2, . - $2\n.popsection\n");
typedef int q35_not_empty;
END
