"""Token ids and decoded text of HF's tokenizers: tests/golden/input/text.

usage: make_input_text.py build OUT    with transformers 4.46.3; writes one folder a flavour, with cases.json
       make_input_text.py compare OUT  with transformers 5.23.0; writes nothing
Expected values are those of 4.46.3's fast tokenizer, which AutoProcessor loads. Both commands count where other
implementations differ from them: LlamaTokenizer (sentencepiece) of 4.46.3, and what 5.23.0 loads for LLaVA.
"""
import json
import pathlib
import random
import shutil
import sys
import tempfile

import transformers
from transformers import AddedToken, AutoTokenizer

TINY = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "tokenizer"
WORDS = "the cat a red train stands USER: ASSISTANT: What colour is it? beside umbrella xyzzy 42 2024 don't".split()
PLAIN = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "a", " a", "  a", "a ", "a  ", "a  b", "a   b", "\na", "a\n", "a\n\nb",
    "a\tb", "\ta", " \ta", "The red cat sits on the table.", " The red cat", "  The red cat  ", "USER: \nWhat? ASSISTANT:",
    "What colour is the train?\nAnswer the question using a single word or short phrase.", "0123456789", "3.14159",
    "café", "cafe\u0301", "naïve coöperation", "Ünïcödé", "日本語の文章です。", "你好，世界", "한국어", "Привет, мир", "مرحبا بالعالم", "שלום",
    "हिन्दी", "ไทย", "😀", "😀😀", "a😀b", "👩‍👩‍👧‍👦", "🇩🇪", "e\u0301\u0323", "\u200b", "a\u200bb", "\ufeffa", "\u00a0a", "a\u00a0b",
    "\u3000a", "\u2028", "a\x00b", "\x01\x02\x03", "\x7f", "\x1b[0m", "\r\n", "a\r\nb", "\u2581", "\u2581a", " \u2581a", "a\u2581b",
    "\u2581\u2581", "a \u2581 b", "<0x0A>", "<0x41>", "a<0x0A>b", "<unk", "unk>", "< unk >", "<unk >", "</ s>", "<s", "s>", "<imag",
    "<image", "image>", "<<image>", "\ufffd", "\U0010ffff", "ﬁ ligature", "½ ²", "ＡＢＣ", "Ａ", "a\u0300\u0301\u0302", "\u0301",
    "don't can't we'll", "e.g. this -- that ... (maybe) [yes] {no}", "http://example.org/a?b=c&d=e#f", "print('x')  # y",
    "\\n \\t \\", "\"quoted\" 'text'", "CamelCase snake_case UPPER lower", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "the" * 20,
    "the " * 20, " the" * 20, "thethe the  the   the", "colourcolour", "umbrellaumbrella ", ".", "..", "...", "!?", " .", ". .",
]
ADDED = [
    "<image>", " <image>", "<image> ", " <image> ", "<image>\n", "\n<image>", "<image>a", "a<image>", "a<image>b", "a <image> b",
    "a  <image>  b", "<image><image>", "<image> <image>", "<image>\n<image>\n", "<image>" * 12, "<image> " * 3, "<s>", "</s>", "<unk>",
    "<pad>", "<s>a", "<s> a", "a</s>", "a </s>", "a</s>b", "a </s> b", "a</s>USER: b", "<s></s>", "<s> </s>", "<unk>a", "a<unk>b",
    "a <unk> b", "<pad><pad>a", "a<pad>", "<s><image>\nWhat?</s>", "USER: <image>\nWhat colour is the cat? ASSISTANT:",
    "USER: <image>\nWhat colour is the cat? ASSISTANT: red</s>USER: And the dog? ASSISTANT:", "\u2581<image>", "<image>\u2581",
    "<image>\u2581a", "<image> \u2581a", "<image>\t", "\t<image>", "<image>😀", "😀<image>", "<image>日本", "<image><image", "<image>>",
    "<IMAGE>", "<image >", "< image>", "x<s>y</s>z<unk>w<pad>v<image>u", " <s> ", "  </s>  ", "\n</s>\n", "</s></s></s>",
]
FLAGS = [
    "a<L>b", "a <L> b", "a  <L>  b", " <L>", "\n\t <L>a", "<L><L> <L>", "a<R>b", "a <R> b", "a<R>  \n b", "<R>   ", "<R> <R>a",
    "<L> <R>", "<R> <L>", "a<N>b", "a <N> b", "<N>", " <N>", "<N> a", "<N><N>", "\n<N>", "<P>", "a <P> b", "a<P>b", "word", " word ",
    "words", "a word b", "sword", "word.", "(word)", "word word", "é word é", "éword", "wordé", "_word", "1word", "a\u3000<L>", "<image><L><N>",
    "<N><image> <N>", "word<image>word", "<R>\u00a0a", "<L>word<R>", "<P> <image> <P>",
]


def texts():
    """All plain and added-token strings and 40 random mixtures of them, in a fixed order."""
    rng = random.Random(7)
    pieces = WORDS + [" ", "  ", "\n", "\t", "<image>", "</s>", "<s>", "<unk>", "<pad>", "\u2581", "é", "日", "😀"]
    mixed = ["".join(rng.choice(pieces) + rng.choice(["", " "]) for _ in range(rng.randint(3, 14))) for _ in range(40)]
    return PLAIN + ADDED + mixed


BROKEN = [b"\xff", b"a\xffb", b"\xe6\x97", b"\xe6\x97a", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xed\xa0\x80", b"\x80\x80", b"a \xfe<image>\xfe b",
          b"\xf4\x90\x80\x80", b"\xe6\x97\xa5\xff\xe6\x97\xa5", b"caf\xe9"]
LONG = [("The red cat sits on the table. ", 1613), ("a", 50000), (" ", 50000), ("日本", 2500), ("umbrella", 6250), ("<image>", 5000)]
# Byte tokens are 3 + byte.
SEQUENCES = [[3 + b for b in raw] for raw in BROKEN + ["é".encode(), "日本".encode(), "😀".encode(), b"\n", b"\n\n", b" ", b" a", b"a\xff"]]
SEQUENCES += [[1, 3 + 0xE6, 3 + 0x97, 3 + 0xA5], [3 + 0xE6, 1, 3 + 0x97, 3 + 0xA5], [3 + 0xE6, 510, 3 + 0x97, 3 + 0xA5], [451, 451],
              [1, 451, 320], [320, 1, 320], [320, 2, 320], [2, 320], [510, 320], [451], [1, 1, 451], [0, 320, 0], [320, 9999, 320], [9999],
              [511, 511, 1, 320, 2], [320, 13, 13, 320], [], [1], [451, 510, 451, 320], [3 + 32, 3 + 32, 320], [3 + 32, 451, 320]]


def fingerprint(ids):
    """FNV-1a, 64 bits, of the ids as comma-separated decimals."""
    value = 0xCBF29CE484222325
    for byte in ",".join(map(str, ids)).encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def case(tokenizer, text):
    ids = tokenizer(text).input_ids
    return {"ids": ids, "bare": tokenizer(text, add_special_tokens=False).input_ids, **decoded(tokenizer, ids)}


def decoded(tokenizer, ids):
    options = {"clean_up_tokenization_spaces": False}
    return {"shown": tokenizer.decode(ids, skip_special_tokens=False, **options),
            "skipped": tokenizer.decode(ids, skip_special_tokens=True, **options)}


def all_cases(tokenizer, strings):
    return {
        "texts": [{"text": t, **case(tokenizer, t)} for t in strings],
        "bytes": [{"hex": b.hex(), **case(tokenizer, b.decode("utf-8", "replace"))} for b in BROKEN],
        "long": [{"unit": u, "times": n, "fnv": fingerprint(tokenizer(u * n).input_ids),
                                  "count": len(tokenizer(u * n).input_ids)} for u, n in LONG],
        "sequences": [{"ids": ids, **decoded(tokenizer, ids)} for ids in SEQUENCES],
    }


def report(name, ours, theirs):
    """Prints, for each field, in how many cases the two differ, and the first of them."""
    found = {}
    for section in theirs:
        for a, b in zip(ours[section], theirs[section]):
            for field in a:
                if a[field] != b[field]:
                    found.setdefault(f"{section}.{field}", []).append(a.get("text", a.get("hex", a.get("unit", a.get("ids")))))
    print(f"{name}:", {field: (len(inputs), inputs[0]) for field, inputs in found.items()} or "no difference")


def build_flavour(out, name, legacy, extra=(), **options):
    """Saves a directory as LlamaTokenizerFast writes it, without the sentencepiece model of TINY."""
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(TINY, scratch, dirs_exist_ok=True)
        fast = transformers.LlamaTokenizerFast.from_pretrained(scratch, legacy=legacy, from_slow=True, **options)
        if extra:
            fast.add_tokens(list(extra))
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        fast.save_pretrained(scratch + "/saved")
        for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
            saved = pathlib.Path(scratch) / "saved" / file
            if saved.exists():
                shutil.copyfile(saved, folder / file)
        # A value here makes 4.46.3 build the tokenizer anew from tokenizer.model, which is not always there.
        config = json.loads((folder / "tokenizer_config.json").read_text())
        del config["add_prefix_space"]
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def flag_tokens():
    return [AddedToken("<L>", lstrip=True, special=True, normalized=False), AddedToken("<R>", rstrip=True, special=True, normalized=False),
            AddedToken("<N>", normalized=True, special=False), AddedToken("<P>", normalized=False, special=False),
            AddedToken("word", single_word=True, normalized=False, special=False)]


FLAVOURS = {
    "plain": (False, False, {}),
    "legacy": (True, False, {}),
    "flags": (False, True, {}),
    "legacy-flags": (True, True, {}),
    "eos": (False, False, {"add_bos_token": False, "add_eos_token": True}),
}


def strings_of(name):
    if name == "eos":
        return ["", "a", "<image>\nWhat?"]
    return FLAGS if "flags" in name else texts()


def with_model(folder, scratch):
    shutil.copytree(folder, scratch, dirs_exist_ok=True)
    shutil.copyfile(TINY / "tokenizer.model", scratch + "/tokenizer.model")


def build(out):
    for name, (legacy, flags, options) in FLAVOURS.items():
        build_flavour(out, name, legacy, flag_tokens() if flags else (), **options)
        fast = AutoTokenizer.from_pretrained(out / name)
        assert fast.is_fast
        cases = all_cases(fast, strings_of(name))
        cases["recipe"] = {"script": "tools/golden/make_input_text.py", "transformers": transformers.__version__}
        (out / name / "cases.json").write_text(json.dumps(cases, ensure_ascii=True, separators=(",", ":")) + "\n")
        with tempfile.TemporaryDirectory() as scratch:
            with_model(out / name, scratch)
            slow = transformers.LlamaTokenizer.from_pretrained(scratch)
            report(f"slow {name}", cases, {"texts": [{"text": t, **case(slow, t)} for t in strings_of(name)]})


def compare(out):
    """5.23.0 on a LLaVA directory: with both tokenizer files, and with each alone."""
    for name in FLAVOURS:
        expected = json.loads((out / name / "cases.json").read_text())
        for files in ("both", "json", "model"):
            with tempfile.TemporaryDirectory() as scratch:
                with_model(out / name, scratch)
                pathlib.Path(scratch, "config.json").write_text('{"model_type": "llava"}')
                if files != "both":
                    pathlib.Path(scratch, "tokenizer.json" if files == "model" else "tokenizer.model").unlink()
                tokenizer = AutoTokenizer.from_pretrained(scratch)
                report(f"{name}, {files}, {type(tokenizer).__name__}", expected, all_cases(tokenizer, strings_of(name)))


if __name__ == "__main__":
    {"build": build, "compare": compare}[sys.argv[1]](pathlib.Path(sys.argv[2]))
