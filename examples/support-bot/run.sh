#!/usr/bin/env bash
# Starts a model, the bot's webhook and ChatAPI, makes the bot and a room, asks, and prints the answers as they come.
#
#   examples/support-bot/run.sh                          two questions, to a model that needs no key and no network
#   examples/support-bot/run.sh "Where is my order?" …   your own; what you type afterwards is asked too, until Ctrl-D
#
# WEBHOOK=js takes the webhook in JavaScript. LLM_BASE_URL, LLM_MODEL, LLM_API_KEY, LLM_API_KEY_ENV and LLM_PROVIDER name
# another model; LISTEN_ADDR another address for ChatAPI.
set -euo pipefail
cd "$(dirname "$0")/../.."

dir=$(mktemp -d)
finish() {
  kill $(jobs -p) 2>/dev/null || true
  wait
  rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

# first_line waits until a program that was started has printed its address.
first_line() {
  for _ in $(seq 300); do
    if [ -s "$1" ]; then head -n 1 "$1"; return; fi
    sleep 0.1
  done
  echo "nothing in $1:" >&2
  cat "$1.log" >&2
  return 1
}

go build -o "$dir/" ./test/model ./examples/support-bot/webhook ./examples/support-bot/ask
chatapi=${CHATAPI:-$dir/chatapi} # a binary that is there already
[ -x "$chatapi" ] || go build -o "$dir/" ./cmd/chatapi

export LISTEN_ADDR=${LISTEN_ADDR:-127.0.0.1:8080} ADMIN_ADDR=off DATABASE_DSN=file:$dir/chatapi.db
export CHATAPI_URL=http://$LISTEN_ADDR ASSIGNEE=${ASSIGNEE:-carol}
export WEBHOOK_SECRET=${WEBHOOK_SECRET:-whsec_$(head -c 32 /dev/urandom | base64)}
WEB_CHAT=$([ ! -t 0 ] || echo "file://${PWD// /%20}/examples/web-chat/index.html")
export WEB_CHAT

# The tenant, before the server is there: a command works beside it and without it.
CHATAPI_KEY=$("$chatapi" tenant create support --json 2>/dev/null | sed 's/.*"api_key":"\([^"]*\)".*/\1/')
export CHATAPI_KEY

# The model: one that says what its name tells it to, unless another is named.
if [ -z "${LLM_BASE_URL:-}" ]; then
  "$dir/model" >"$dir/model.url" 2>"$dir/model.url.log" &
  LLM_BASE_URL=$(first_line "$dir/model.url")
  LLM_MODEL='answer?interval=80ms&text=Your order 4711 was shipped on Monday, and should be with you by Friday.'
fi
export LLM_BASE_URL LLM_MODEL

# The webhook.
case ${WEBHOOK:-go} in
go) program=("$dir/webhook") ;;
js) program=(node examples/support-bot/webhook/main.mjs) ;;
*) echo "WEBHOOK is go or js" >&2; exit 2 ;;
esac
PORT=0 "${program[@]}" >"$dir/webhook.url" 2>"$dir/webhook.url.log" &
WEBHOOK_URL=$(first_line "$dir/webhook.url")
export WEBHOOK_URL

# ChatAPI may call both: addresses of this machine are out of its reach unless they are opened.
allow=webhook=${WEBHOOK_URL#http://}
case $LLM_BASE_URL in
http://*) model=${LLM_BASE_URL#http://}; allow+=,llm=${model%%/*} ;;
esac
OUTBOUND_ALLOW=$allow "$chatapi" serve --dev >"$dir/chatapi.log" 2>&1 &
until grep -q 'ChatAPI runs at' "$dir/chatapi.log"; do
  if ! kill -0 $! 2>/dev/null; then cat "$dir/chatapi.log" >&2; exit 1; fi
  sleep 0.1
done

[ $# -gt 0 ] || set -- "Where is my order?" "I would like to talk to a human."
"$dir/ask" "$@"
