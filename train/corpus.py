#!/usr/bin/env python3
"""Texts to tokens: corpus.py TOKENIZER.json WORK FILE.txt.xz…

Writes WORK/NAME.npy (uint16) for each file. A file named chat.txt.xz holds a JSON array a line, [system or "", question,
answer, …], which becomes text in the LLaMA-3 chat layout; any other holds documents with a zero byte between them.
"""
import json
import lzma
import os
import sys

import numpy as np
from tokenizers import Tokenizer

PIECE = 60000  # characters that are encoded at once, cut behind a line's end


def chat_text(turns):
    text = "<|begin_of_text|>"
    for i, words in enumerate(turns):
        role = "system" if i == 0 else ("user", "assistant")[(i - 1) % 2]
        if i > 0 or words:
            text += f"<|start_header_id|>{role}<|end_header_id|>\n\n{words}<|eot_id|>"
    return text


def pieces(text):
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin + PIECE) + 1 or len(text)
        yield text[begin:end]
        begin = end


def encode(tokenizer, texts):
    for i in range(0, len(texts), 20000):
        for encoding in tokenizer.encode_batch_fast(texts[i:i + 20000], add_special_tokens=False):
            yield np.array(encoding.ids, np.uint16)


def tokens_of(tokenizer, name, text):
    if name == "chat":
        yield from encode(tokenizer, [chat_text(json.loads(line)) for line in text.split("\n") if line])
        return
    begin, end = (np.array([tokenizer.token_to_id(t)], np.uint16) for t in ("<|begin_of_text|>", "<|end_of_text|>"))
    for document in text.split("\0"):
        yield begin
        yield from encode(tokenizer, list(pieces(document)))
        yield end


def main():
    tokenizer = Tokenizer.from_file(sys.argv[1])
    work = sys.argv[2]
    os.makedirs(work, exist_ok=True)
    for path in sys.argv[3:]:
        name = os.path.basename(path).split(".")[0]
        with (lzma.open if path.endswith(".xz") else open)(path, "rt", encoding="utf-8", newline="") as file:
            tokens = np.concatenate(list(tokens_of(tokenizer, name, file.read())))
        np.save(f"{work}/{name}.npy", tokens)
        print(f"{name}: {len(tokens)} tokens", flush=True)


if __name__ == "__main__":
    main()
