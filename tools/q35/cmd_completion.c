/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "tools/q35/cli.h"

/* The scripts ask the program itself, `q35 --complete WORDS`, what the word at the cursor may
 * become: cli_complete.c says how it answers. */

static const struct {
    const char *shell, *script;
} scripts[] = {
    {"bash", "# bash completion for q35\n"
             "_q35() {\n"
             "    local cur=${COMP_WORDS[COMP_CWORD]} line\n"
             "    COMPREPLY=()\n"
             "    [[ $cur == = ]] && cur=\n"
             "    while IFS= read -r line; do\n"
             "        if [[ $line == :files ]]; then\n"
             "            compopt -o filenames 2>/dev/null\n"
             "            mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- \"$cur\")\n"
             "        else\n"
             "            COMPREPLY+=(\"${line%%$'\\t'*}\")\n"
             "        fi\n"
             "    done < <(\"$1\" --complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
             "}\n"
             "complete -F _q35 q35\n"},
    {"zsh", "#compdef q35\n"
            "local line files=0\n"
            "local -a names texts\n"
            "for line in \"${(@f)$(\"${words[1]}\" --complete \"${(@)words[2,CURRENT]}\" "
            "2>/dev/null)}\"; do\n"
            "    if [[ $line == :files ]]; then\n"
            "        files=1\n"
            "    elif [[ -n $line ]]; then\n"
            "        names+=(\"${line%%$'\\t'*}\")\n"
            "        texts+=(\"${line/$'\\t'/  -- }\")\n"
            "    fi\n"
            "done\n"
            "(( $#names )) && compadd -l -d texts -- \"${names[@]}\"\n"
            "if (( files )); then\n"
            "    compset -P '--*='\n"
            "    _files\n"
            "fi\n"},
    {"fish", "# fish completion for q35\n"
             "function __q35_complete\n"
             "    set -l words (commandline -opc) (commandline -ct)\n"
             "    for line in (command $words[1] --complete $words[2..-1] 2>/dev/null)\n"
             "        if test \"$line\" = :files\n"
             "            __fish_complete_path (commandline -ct)\n"
             "        else\n"
             "            printf '%s\\n' $line\n"
             "        end\n"
             "    end\n"
             "end\n"
             "complete -c q35 -f -a '(__q35_complete)'\n"},
};

static int run(struct cli *cli)
{
    const char *shell = cli_arg(cli, 0);
    size_t i;
    for (i = 0; i < Q35_COUNT(scripts); i++)
        if (strcmp(scripts[i].shell, shell) == 0) {
            fputs(scripts[i].script, stdout);
            return CLI_OK;
        }
    return cli_usage(cli, "unknown shell '%s': expected bash, zsh or fish", shell);
}

const struct cli_command cmd_completion = {
    .name = "completion",
    .synopsis = "bash|zsh|fish",
    .summary = "print a completion script for a shell",
    .details = "`meson install` puts the scripts where the shells look for them; this is for a q35 "
               "that is not installed.",
    .examples = "q35 completion bash >~/.local/share/bash-completion/completions/q35\n"
                "q35 completion zsh >~/.zfunc/_q35\n"
                "q35 completion fish >~/.config/fish/completions/q35.fish",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
