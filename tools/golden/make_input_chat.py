"""Prompts as llava-1.5-7b-hf's chat template renders them: tests/golden/input/chat.json.

usage: make_input_chat.py TEMPLATE OUT   with transformers 5.23.0
TEMPLATE is that model's chat_template.jinja (or the value of chat_template.json in a file of its own). vicuna_v1 has
no template; its expected prompts are put together here from LLaVA's rule: after the system prompt each turn is
"ROLE: text", separated by a space after the user's and by </s> after the assistant's.
"""
import json
import pathlib
import sys

import transformers

SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. "
          "The assistant gives helpful, detailed, and polite answers to the user's questions.")
CONVERSATIONS = [
    [("user", 1, "What colour is the cat?")],
    [("user", 0, "Hello")],
    [("user", 2, "Compare them.")],
    [("user", 1, "")],
    [("user", 1, "What is this?"), ("assistant", 0, "A train."), ("user", 0, "Where is it?")],
    [("user", 1, "What is this?"), ("assistant", 0, "A train."), ("user", 1, "And this?"), ("assistant", 0, "A dog.")],
    [("user", 1, " spaces \n and 'quotes' \"too\" <b>& {{ braces }}</b> ")],
    [("system", 0, "Be brief."), ("user", 1, "Café?")],
]


def messages(turns):
    """Image entries first or last: the template moves them to the front."""
    out = []
    for number, (role, images, text) in enumerate(turns):
        pictures, words = [{"type": "image"}] * images, [{"type": "text", "text": text}]
        out.append({"role": role, "content": words + pictures if number % 2 else pictures + words})
    return out


def vicuna(turns, generate):
    system = SYSTEM
    if turns[0][0] == "system":
        system, turns = turns[0][2], turns[1:]
    parts = [system + " "]
    for role, images, text in turns:
        end = " " if role == "user" else "</s>"
        parts.append(f"{role.upper()}: {'<image>' + chr(10) if images else ''}{'<image>' + chr(10) if images > 1 else ''}{text}{end}")
    return "".join(parts) + ("ASSISTANT:" if generate else "")


def main():
    template = pathlib.Path(sys.argv[1]).read_text()
    folder = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "tokenizer"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    cases = []
    for turns in CONVERSATIONS:
        for generate in (True, False):
            prompt = tokenizer.apply_chat_template(messages(turns), chat_template=template, add_generation_prompt=generate, tokenize=False)
            cases.append({"turns": turns, "generate": generate, "llava_hf": prompt, "vicuna_v1": vicuna(turns, generate)})
    recipe = {"script": "tools/golden/make_input_chat.py", "transformers": transformers.__version__}
    pathlib.Path(sys.argv[2]).write_text(json.dumps({"recipe": recipe, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
