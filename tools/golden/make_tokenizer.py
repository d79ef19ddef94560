"""Trains the tiny Llama tokenizer of the test suite: tests/golden/tokenizer.

510 sentencepiece pieces (BPE, byte fallback, Llama's normaliser settings), then <image> = 510 and <pad> = 511.
Run with transformers 4.46.3 and sentencepiece 0.2.3: its LlamaTokenizerFast writes a directory that 4.x and 5.x
both read. usage: make_tokenizer.py OUTPUT_DIR
"""
import io
import itertools
import json
import pathlib
import shutil
import sys
import tempfile

import sentencepiece
import transformers

ADJECTIVES = "small large red green blue old young quiet bright wooden empty crowded round striped".split()
NOUNS = ("cat dog horse train bus plate cup table chair window street tree river boat bicycle umbrella man woman "
         "child picture image kitchen bowl bridge clock mirror").split()
VERBS = "stands sits lies waits moves sleeps leans shines hangs turns".split()
PLACES = ["on the", "under the", "beside the", "behind the", "in front of the", "near the", "inside the"]
QUESTIONS = ["What colour is the {n}?", "How many {n}s are there in this picture?", "Where is the {a} {n}?",
             "Is the {n} {a}?", "Describe this image in detail.", "What is the {n} doing?",
             "Answer the question using a single word or short phrase."]


def corpus():
    """A few thousand short sentences about pictures, in a fixed order."""
    cycle = itertools.cycle
    adjectives, verbs, places = cycle(ADJECTIVES), cycle(VERBS), cycle(PLACES)
    for step in range(1, 12):
        nouns = cycle(NOUNS[step:] + NOUNS[:step])
        for noun, other in zip(NOUNS * 4, nouns):
            yield f"The {next(adjectives)} {noun} {next(verbs)} {next(places)} {next(adjectives)} {other}."
    for number, noun in enumerate(NOUNS * 6):
        for question in QUESTIONS:
            yield "USER: " + question.format(n=noun, a=next(adjectives)) + " ASSISTANT: There are "
        yield f"{number} {noun}s, {number * 7 % 1000} metres away; {noun} number {number % 10}!"
    yield "A chat between a curious user and an artificial intelligence assistant."
    yield "The assistant gives helpful, detailed, and polite answers to the user's questions."
    yield "Yes, no, left, right, one, two, three, four, five: (maybe) \"perhaps\" – it's café-coloured."


def train():
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(list(corpus()) * 2), model_writer=out, model_type="bpe", vocab_size=510,
        byte_fallback=True, character_coverage=1.0, split_digits=True, allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False, normalization_rule_name="identity", add_dummy_prefix=True,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2)
    return out.getvalue()


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        model = pathlib.Path(scratch) / "tokenizer.model"
        model.write_bytes(train())
        slow = transformers.LlamaTokenizer(str(model), legacy=False)
        slow.add_tokens([transformers.AddedToken("<image>", normalized=False, special=True)], special_tokens=True)
        slow.add_special_tokens({"pad_token": transformers.AddedToken("<pad>", normalized=False, special=True)})
        slow.save_pretrained(scratch + "/slow")
        fast = transformers.LlamaTokenizerFast.from_pretrained(scratch + "/slow", legacy=False, from_slow=True)
        fast.save_pretrained(out)
        shutil.copyfile(model, out / "tokenizer.model")
    recipe = {"recipe": "tools/golden/make_tokenizer.py", "transformers": transformers.__version__,
              "sentencepiece": sentencepiece.__version__}
    (out / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")


if __name__ == "__main__":
    main()
