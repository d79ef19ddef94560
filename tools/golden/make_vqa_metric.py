"""Writes tests/golden/vqa_metric: generated answers and what the VQA evaluators' rules make of them.

The rules are written here a second time, in Python and with its re and str, from their description and not from
src/eval. usage: make_vqa_metric.py OUTPUT_DIR
"""
import collections
import hashlib
import json
import pathlib
import platform
import random
import re
import sys
import unicodedata

SEED = 7
CASES, TEXTS, FILED = 5000, 1500, 100
MARKS = ";/[]\"{}()=+\\_-><@`,?!"
DIGITS = {w: str(i) for i, w in enumerate("zero one two three four five six seven eight nine ten".split())} | {"none": "0"}
REGULAR = """ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's I'm
I've isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't
somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd
they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd
who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've""".split()


def contraction_table():
    table = {w.replace("'", ""): w for w in REGULAR}
    for stem in "could might should would had".split():
        table[f"{stem}nt've"] = table[f"{stem}n'tve"] = f"{stem}n't've"
    for who in "he it she somebody someone something there they we who you I".split():
        table[f"{who}d've"] = table[f"{who}'dve"] = f"{who}'d've"
    table["somebody'd"] = "somebodyd"
    table |= {w: w for w in ("let's", "she's")}
    table |= {w: "'ow's'at" for w in ("ow's'at", "'ows'at", "'ow'sat")}
    table |= {w: "y'all'll" for w in ("yall'll", "y'allll")}
    table |= {w: "y'all'd've" for w in ("yall'd've", "y'alld've", "y'all'dve")}
    assert len(REGULAR) == 75 and len(table) == 120
    return table


CONTRACTIONS = contraction_table()


def trim(text):
    return re.sub("[\n\t]", " ", text).strip()


def punct(text, commas=r"\d,\d"):
    joined = re.search(commas, text)

    def fate(match):
        mark = match.group()
        return "" if joined or f"{mark} " in text or f" {mark}" in text else " "

    return re.sub(r"\.(?!\d)", "", re.sub("[" + re.escape(MARKS) + "]", fate, text), count=32)


def words(text):
    mapped = (DIGITS.get(w, w) for w in text.lower().split())
    return " ".join(CONTRACTIONS.get(w, w) for w in mapped if w not in ("a", "an", "the"))


def official(text):
    return words(punct(trim(text)))


def lmms(text):
    return words(punct(trim(text), r"\d,+\d"))


def evalai(text):
    text = re.sub("[,?]", "", text.lower()).replace("'s", " 's").strip()
    return words(punct(trim(text), r"\d,+\d"))


def leave_one_out(prediction, answers):
    total = 0.0  # a plain running sum: newer versions of sum() correct its rounding
    for left_out in range(len(answers)):
        equal = sum(a == prediction for i, a in enumerate(answers) if i != left_out)
        total += min(1.0, equal / 3)
    return total / len(answers)


def short(text):
    """The original project's way to a short answer."""
    text = text.strip()
    if not text:
        return "unknown"
    line = re.sub("^(?:assistant|ASSISTANT|answer|Answer)\\s*[:\uff1a]?\\s*", "", text.split("\n")[0].strip())
    said = re.search(r"(?:the )?answer is\s+(.[^.!?]*)", line, re.IGNORECASE)
    line = said.group(1).strip() if said else line
    line = re.match("[^.!?;]*", line).group().strip()
    return (" ".join(line.split()[:5]) if len(line.split()) > 5 else line) or "unknown"


def plain(text):
    return re.sub(r"[^\w\s]", "", re.sub(r"\s+", " ", text.strip().lower()))


def scores(prediction, answers):
    def by(rule):
        return leave_one_out(rule(prediction), [rule(a) for a in answers])

    raw = by(trim) if len({trim(a) for a in answers}) == 1 else by(official)
    equal = sum(plain(a) == plain(short(prediction)) for a in answers)
    return [raw, by(official), by(evalai), by(lmms), min(equal / 3, 1.0)]


PLAIN = """yes no red blue white black left right cat dog man tennis frisbee skateboard two-story kitchen wii table
train standing usa coca-cola nike 2 3 12 100 2008 unknown t-shirt""".split()
ODD = """Café CAFÉ Ünal ΣΟΦΟΣ Τῆς Привет İstanbul straße ǅ ２ ٣ ٤,٥ 東京 naïve ﬁ x² ½ 1,000 1,,000 10,000-20,000 $5.00 .5 3.
3.5 5:30 U.S.A. e.g. ... n/a a/c 'n' rock'n'roll man's it's let's she's somebody'd dont im ive wont yall'll y'alld've
theyd've hadn'tve couldnt've mustn'tve 50% #1 & a an the none zero One TWO three ten eleven none. (dark) [x] {y} "q"
well-done <b> @home under_score back\\slash tick`s wow! what? semi;colon 1,,000-2 1+1=2""".split()


def one_word(rng):
    if rng.random() < 0.55:
        return rng.choice(PLAIN)
    return rng.choice(ODD) if rng.random() < 0.8 else rng.choice(sorted(CONTRACTIONS))


def phrase(rng, most=3):
    text = " ".join(one_word(rng) for _ in range(rng.choice([1, 1, 1, 2, most])))
    return noise(rng, text) if rng.random() < 0.3 else text


def noise(rng, text):
    """A mark, a space or an article somewhere, another case."""
    at = rng.randrange(len(text) + 1)
    kind = rng.randrange(9)
    if kind < 3:
        extra = rng.choice(MARKS + ".'&:%")
        extra = rng.choice([extra, extra + " ", " " + extra])
    elif kind < 5:
        extra = rng.choice([" ", "  ", "\t", "\n", "\u00a0", "\u2003", "\x1c", "."])
    elif kind == 5:
        return rng.choice(["a ", "the ", "An "]) + text
    elif kind == 6:
        return rng.choice([text.upper(), text.capitalize(), text.title()])
    else:
        return text.replace("'", "") if "'" in text else text + rng.choice([".", "..", "!", " ,", ",5", "'s"])
    return text[:at] + extra + text[at:]


def generated(rng, answer):
    """A model's text around an answer."""
    if rng.random() < 0.7:
        return answer
    return rng.choice([
        "The answer is {}.", "the ANSWER is  {}", "Answer: {}", "answer\uff1a {}", "ASSISTANT: {}", "{}.\nBecause.",
        "It is {}; maybe", "I think the answer is {}! Yes", "{} and that is what we can see here", "  {}  ", "{}?",
        "The an\u017fwer \u0131s {}", "answer is . {}", "assistant {}", "answers {}", "the answer isn't {}", "\n{}",
    ]).format(answer)


def case(rng):
    bases = [phrase(rng) for _ in range(rng.choice([1, 2, 3, 4, 6]))]
    answers = []
    while len(answers) < 10:
        answer = bases[min(int(rng.expovariate(0.6)), len(bases) - 1)]
        answers.append(noise(rng, answer) if rng.random() < 0.25 and len(bases) > 1 else answer)
    prediction = rng.choice(answers) if rng.random() < 0.8 else phrase(rng)
    if rng.random() < 0.3:
        prediction = noise(rng, prediction)
    if rng.random() < 0.3:
        prediction = rng.choice([official, evalai, lmms, str.upper])(prediction)
    return generated(rng, prediction), answers


VARIANTS = ["official", "official_normalized", "evalai", "lmms_eval", "original"]
QUESTION_TYPES = ["how many", "is the", "what color is the", "none of the above", "what"]
ANSWER_TYPES = ["yes/no", "number", "other"]


def percentage(values):
    total = 0.0
    for value in values:
        total += value
    return round(100 * total / len(values), 2)


def official_files(out, lines):
    """The first cases as VQAv2's files, a results file and what is to come of them."""
    questions, annotations, results, rows = [], [], [], []
    for i, (prediction, distinct, order, *values) in enumerate(lines):
        number = 42000 + 7 * i
        kinds = QUESTION_TYPES[i * i % 5], ANSWER_TYPES[i % 3]
        questions.append({"image_id": 42 + i // 3, "question": f"Question {i}?", "question_id": number})
        people = [{"answer": distinct[int(d)], "answer_confidence": "yes", "answer_id": n + 1} for n, d in enumerate(order)]
        annotations.append({"question_type": kinds[0], "multiple_choice_answer": distinct[0], "answers": people,
                            "image_id": 42 + i // 3, "answer_type": kinds[1], "question_id": number})
        results.append({"question_id": number, "answer": prediction})
        rows.append((*kinds, values))
    head = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": "val2014"}
    expected = {}
    for v, name in enumerate(VARIANTS):
        def of(column):
            names = dict.fromkeys(r[column] for r in rows)
            return {n: percentage([r[2][v] for r in rows if r[column] == n]) for n in names}
        expected[name] = {"overall": percentage([r[2][v] for r in rows]), "per_answer_type": of(1),
                          "per_question_type": of(0)}
    for name, content in {"questions": {**head, "task_type": "Open-Ended", "questions": questions},
                          "annotations": {**head, "annotations": annotations},
                          "results": results[::-1], "expected": expected}.items():
        (out / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    lines, seen = [], collections.Counter()
    while len(lines) < CASES:
        prediction, answers = case(rng)
        distinct = sorted(set(answers))
        line = [prediction, distinct, "".join(str(distinct.index(a)) for a in answers), *scores(prediction, answers)]
        seen.update(round(s, 2) for s in line[3:])
        seen["official is not normalized"] += line[3] != line[4]
        seen["official is not evalai"] += line[3] != line[5]
        seen["official is not original"] += abs(line[3] - line[7]) > 0.1
        lines.append(line)
    assert all(seen[k] > 100 for k in (0.0, 0.3, 0.6, 0.9, 1.0, 0.33, 0.67)), seen
    assert seen["official is not normalized"] > 50 and seen["official is not evalai"] > 50, seen
    texts = []
    while len(texts) < TEXTS:
        text = phrase(rng, 4)
        for _ in range(rng.randrange(4)):
            text = noise(rng, text)
        seen["texts that the two comma rules rewrite apart"] += official(text) != lmms(text)
        texts.append([text, official(text), evalai(text), lmms(text), short(text), plain(text)])
    assert seen["texts that the two comma rules rewrite apart"] > 5
    texts.append([dots := "." * 40 + "a.", official(dots), evalai(dots), lmms(dots), short(dots), plain(dots)])

    official_files(out, lines[:FILED])

    def dump(name, rows):
        body = "".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in rows)
        (out / name).write_text(body)
        return hashlib.sha256(body.encode()).hexdigest()

    every = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    classes = {"lower": "".join(c.lower() for c in every), "space": "".join(c for c in every if c.isspace()),
               "decimal": "".join(c for c in every if c.isdecimal()),
               "word": "".join(c for c in every if re.fullmatch(r"\w", c))}

    def fnv1a(text):
        value = 0xCBF29CE484222325
        for byte in text.encode():
            value = (value ^ byte) * 0x100000001B3 % 2**64
        return f"{value:016x}"

    recipe = {"recipe": "tools/golden/make_vqa_metric.py", "seed": SEED, "python": platform.python_version(),
              "unicode": unicodedata.unidata_version,
              "sha256": {"cases.jsonl": dump("cases.jsonl", lines), "texts.jsonl": dump("texts.jsonl", texts)},
              "fnv1a": {name: fnv1a(text) for name, text in classes.items()}, "seen": {str(k): v for k, v in seen.items()}}
    (out / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")


if __name__ == "__main__":
    main()
