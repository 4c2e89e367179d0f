#!/usr/bin/env bash
# What a new user sees in a terminal: screens of tmux, compared with what they should say. Colours are escape codes in
# the captured screen.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh" "$@"
command -v tmux >/dev/null || skip 'no tmux'
socket=$work/tmux
export XDG_STATE_HOME=$work TERM=xterm-256color
unset NO_COLOR
last=(in a terminal)
status=-
tmux() { command tmux -S "$socket" -f /dev/null "$@"; }
trap 'tmux kill-server 2>/dev/null; rm -rf "$work"' EXIT
tmux new-session -d -x 160 -y 50 -e "HISTFILE=" "bash --norc --noprofile"
tmux set-option -g default-terminal tmux-256color
tmux send-keys "PS1='ready> '; halo() { $(printf '%q ' "${halo_command[@]}") \"\$@\"; }; cd $(printf '%q' "$work"); clear" Enter

# screen: what is on it now, colours as escape codes. see PATTERN: waits up to 30 s until a line matches.
screen() { tmux capture-pane -p -e -J; }
see() {
  local i
  for ((i = 0; i < 300; ++i)); do
    if screen | grep -qE -- "$1"; then return; fi
    sleep 0.1
  done
  screen >"$out"
  : >"$err"
  wrong "the screen should show: $1"
}
unseen() {
  screen >"$out"
  if grep -qE -- "$1" "$out"; then wrong "the screen should not show: $1"; fi
}
type() { tmux send-keys -l -- "$1"; tmux send-keys Enter; }
# run COMMAND: on a clear screen, until the shell is ready again.
run() {
  tmux send-keys C-l
  type "clear; $1; echo done-\$?"
  see 'done-[0-9]'
}
escape=$(printf '\033')

run 'halo --help | tail -n 40'
see 'halo COMMAND --help'
run 'halo chta'
see "no command 'chta'; did you mean 'chat'\?"
see 'done-2'
run 'halo chat --tmep 1 Hello'
see "did you mean '--temp'\?"
see 'done-2'
run 'halo run -m missing.h1b Hello'
see 'missing\.h1b: cannot open'
see 'done-1'
see "$escape\\[1m"                    # the name of the program stands out…
run 'NO_COLOR=1 halo run -m missing.h1b Hello'
unseen "$escape\\[1mhalo"             # …unless colours are not wanted…
run 'halo run -m missing.h1b Hello 2>&1 | cat'
unseen "$escape\\[1mhalo"             # …or nobody sees them
run 'echo "What is the capital of France?" | halo chat'
see 'The capital of France is Paris\.'
see 'done-0'

# A chat: an answer, then one that Ctrl-C stops, then the conversation goes on. The reference engine is slow enough to
# be stopped within an answer.
tmux send-keys C-l
type 'clear; halo chat --engine reference --ignore-eos -n 2000'
see '/help lists commands'
type '/set max_tokens 8'
type 'What is the capital of France?'
see 'is Paris'
type '/set max_tokens 2000'
type 'Tell me a story.'
sleep 1
tmux send-keys C-c
see 'answer [0-9]{1,3} tokens'
type '/set max_tokens 8'
type '/reset'
type 'What is the capital of Italy?'
see 'is Rome'
sleep 1  # halo prints its prompt a moment before it takes the terminal over
tmux send-keys C-d
see 'ready> $'
