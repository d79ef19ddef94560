"""Writes tests/golden/parquet: small datasets, each as a benchmark's official files and as Parquet tables.

The tables have the columns, types and names of files of the lmms-lab datasets and are written by pyarrow: several
shards and row groups, snappy and zstd, null fields, pictures as {bytes, path}.
usage: make_parquet.py OUTPUT_DIR   with pyarrow 21.0.0 and Pillow 13.0.0
"""
import hashlib
import io
import json
import pathlib
import platform
import random
import shutil
import sys

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SEED = 11
TEXT, LONG, INT = pa.string(), pa.int64(), pa.int32()
IMAGE = pa.struct([("bytes", pa.binary()), ("path", TEXT)])
WORDS = "red blue two cat a dog on the left yes no café 3.5 don't unanswerable".split()


def picture(name):
    """The file of a picture that no other name has; the suffix says the format."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    width, height = 24 + seed % 13, 18 + seed // 16 % 11
    y, x = np.mgrid[0:height, 0:width]
    bands = [(x * (seed >> shift & 15) + y * (seed >> shift + 4 & 15) + (seed >> shift)) % 256 for shift in (0, 8, 16)]
    file = io.BytesIO()
    kind = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[pathlib.PurePath(name).suffix]
    Image.fromarray(np.stack(bands, -1).astype(np.uint8)).save(file, kind, **({"quality": 85} if kind == "JPEG" else {}))
    return file.getvalue()


def cell(name, path):
    return {"bytes": picture(name), "path": path}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def write_json(path, value):
    write(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def write_table(folder, split, schema, rows, shards, group, hashed=False):
    """rows in so many shards of row groups of so many rows; compressions take turns."""
    names = [name for name, _ in schema]
    features = {name: {"_type": "Image"} if kind == IMAGE else {"_type": "Value"} for name, kind in schema}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    size = -(-len(rows) // shards)
    for i in range(shards):
        part = rows[i * size:(i + 1) * size]
        columns = [pa.array([row[name] for row in part], kind) for name, kind in schema]
        table = pa.Table.from_arrays(columns, schema=pa.schema(schema, metadata=about))
        tail = "-" + hashlib.sha256(f"{split}{i}".encode()).hexdigest()[:16] if hashed else ""
        path = folder / f"{split}-{i:05d}-of-{shards:05d}{tail}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=group, compression=("snappy", "zstd")[i % 2])
    return names


def ten(chance):
    """Ten people's answers, most of whom agree."""
    common = chance.choice(WORDS)
    return [common if chance.random() < 0.7 else chance.choice(WORDS) for _ in range(10)]


def vqav2(out, chance):
    schema = [("question_type", TEXT), ("multiple_choice_answer", TEXT),
              ("answers", pa.list_(pa.struct([("answer", TEXT), ("answer_confidence", TEXT), ("answer_id", LONG)]))),
              ("image_id", LONG), ("answer_type", TEXT), ("question_id", LONG), ("question", TEXT), ("image", IMAGE)]
    questions, annotations, rows = [], [], []
    for n in range(11):
        image_id = 262000 + n // 3
        name = f"COCO_val2014_{image_id:012d}.jpg"
        write(out / "images" / name, picture(name))
        question = {"image_id": image_id, "question": f"What is “{WORDS[n]}” number {n}?", "question_id": image_id * 1000 + n}
        people = [{"answer": a, "answer_confidence": "yes", "answer_id": i + 1} for i, a in enumerate(ten(chance))]
        note = {"question_type": chance.choice(["what is", "how many", "none of the above"]),
                "multiple_choice_answer": people[0]["answer"], "answers": people, "image_id": image_id,
                "answer_type": chance.choice(["yes/no", "number", "other"]), "question_id": question["question_id"]}
        questions.append(question)
        annotations.append(note)
        rows.append({**note, **question, "image": cell(name, None if n == 4 else name)})
    write_json(out / "questions.json", {"info": {}, "data_type": "mscoco", "data_subtype": "val2014", "questions": questions})
    write_json(out / "annotations.json", {"info": {}, "data_subtype": "val2014", "annotations": annotations})
    write_table(out / "table/data", "validation", schema, rows, 3, 2, hashed=True)
    unanswered = [{**row, "answers": None, "question_type": None, "answer_type": None, "multiple_choice_answer": None}
                  for row in rows[:3]]
    write_table(out / "table/data", "testdev", schema, unanswered, 1, 2)


def textvqa(out, chance):
    schema = [("image_id", TEXT), ("question_id", INT), ("question", pa.large_string()), ("question_tokens", pa.list_(TEXT)),
              ("image", IMAGE), ("image_width", INT), ("flickr_original_url", TEXT), ("answers", pa.list_(TEXT)),
              ("set_name", TEXT), ("ocr_tokens", pa.large_list(TEXT))]
    data, ocr, rows = [], [], []
    for n in range(9):
        image_id = hashlib.sha256(f"text{n // 2}".encode()).hexdigest()[:16]
        write(out / f"images/{image_id}.jpg", picture(f"{image_id}.jpg"))
        entry = {"question": f"what BRAND is on {WORDS[n]}?", "image_id": image_id, "question_id": 34602 + n,
                 "answers": ten(chance), "set_name": "val"}
        tokens = [] if n // 2 == 1 else ["DAKOTA", "№ 2", str(n // 2)]
        data.append(entry)
        ocr.append({"image_id": image_id, "ocr_tokens": tokens})
        rows.append({**entry, "question_tokens": entry["question"].split(), "image": cell(f"{image_id}.jpg", None),
                     "image_width": 30, "flickr_original_url": None, "ocr_tokens": tokens})
    write_json(out / "val.json", {"dataset_type": "val", "data": data})
    write_json(out / "ocr.json", {"data": ocr})
    write_table(out / "table/data", "validation", schema, rows, 2, 2)


def gqa(out, chance):
    operation = pa.struct([("operation", TEXT), ("argument", TEXT), ("dependencies", pa.list_(INT))])
    schema = [("id", TEXT), ("imageId", TEXT), ("question", TEXT), ("answer", TEXT), ("fullAnswer", TEXT),
              ("isBalanced", pa.bool_()), ("groups", pa.struct([("global", TEXT), ("local", TEXT)])), ("entailed", TEXT),
              ("types", pa.struct([("structural", TEXT), ("semantic", TEXT), ("detailed", TEXT)])),
              ("semantic", pa.list_(operation)), ("semanticStr", TEXT)]
    official, rows = {}, []
    for n in range(10):
        entry = {"imageId": f"n{350 + n // 3}", "question": f"Is it {WORDS[n]}?" if n % 2 else f"Where is {WORDS[n]}?",
                 "answer": chance.choice(["yes", "no", "left"]), "fullAnswer": "It is.", "isBalanced": n != 7,
                 "groups": {"global": None if n % 2 else "place", "local": f"13-{n}"},
                 "types": {"structural": "verify" if n % 2 else "query", "semantic": "rel", "detailed": "relS"},
                 "semantic": [{"operation": "select", "argument": "bus (7)", "dependencies": []},
                              {"operation": "exist" if n % 3 else "relate", "argument": "?", "dependencies": [0]}],
                 "semanticStr": "select: bus (7)"}
        official[f"2010{n}"] = entry
        rows.append({"id": f"2010{n}", "entailed": None, **entry})
    names = sorted({row["imageId"] for row in rows})
    for name in names:
        write(out / f"images/{name}.jpg", picture(f"{name}.jpg"))
    images = [{"id": name, "image": cell(f"{name}.jpg", None)} for name in names]
    write_json(out / "testdev_balanced_questions.json", official)
    write_table(out / "table/testdev_balanced_instructions", "testdev", schema, rows, 1, 4)
    write_table(out / "table/testdev_balanced_images", "testdev", [("id", TEXT), ("image", IMAGE)], images, 2, 1)
    write_table(out / "table/testdev_all_instructions", "testdev", schema, rows[:2], 1, 4)
    write_table(out / "table/testdev_all_images", "testdev", [("id", TEXT), ("image", IMAGE)], images[:1], 1, 1)


def pope(out, chance):
    kind = pa.dictionary(pa.int8(), TEXT)
    schema = [("id", TEXT), ("question_id", TEXT), ("question", TEXT), ("answer", TEXT), ("image_source", TEXT),
              ("image", IMAGE), ("category", kind)]
    rows = []
    for category in ("adversarial", "popular", "random"):
        lines = []
        for n in range(4):
            source = f"COCO_val2014_{310196 + n // 2:012d}"
            write(out / f"images/{source}.jpg", picture(f"{source}.jpg"))
            entry = {"question_id": n + 1, "image": f"{source}.jpg", "text": f"Is there a {WORDS[n]} {category}?",
                     "label": chance.choice(["yes", "no"])}
            lines.append(json.dumps(entry))
            rows.append({"id": str(len(rows)), "question_id": str(n + 1), "question": entry["text"], "answer": entry["label"],
                         "image_source": f"{source}.jpg", "image": cell(f"{source}.jpg", None), "category": category})
        write(out / f"coco_pope_{category}.json", "\n".join(lines) + "\n")
        write_table(out / "table/Full", category, schema[:-1], rows[-4:], 1, 4)
    write_table(out / "table/data", "test", schema, rows, 2, 4)


def vizwiz(out, chance):
    schema = [("question_id", TEXT), ("image", IMAGE), ("question", TEXT), ("answers", pa.list_(TEXT)), ("category", TEXT)]
    official, rows = [], []
    for n in range(6):
        name = f"VizWiz_val_{n:08d}.jpg"
        write(out / "images" / name, picture(name))
        people, kind = ten(chance), chance.choice(["other", "unanswerable", "number"])
        official.append({"image": name, "question": f"Can you tell me {WORDS[n]}?", "answer_type": kind, "answerable": 1,
                         "answers": [{"answer": a, "answer_confidence": "maybe"} for a in people]})
        rows.append({"question_id": name, "image": cell(name, name), "question": official[-1]["question"], "answers": people,
                     "category": kind})
    write_json(out / "val.json", official)
    write_table(out / "table/data", "val", schema, rows, 1, 4)


def scienceqa(out, chance):
    schema = [("image", IMAGE), ("question", TEXT), ("choices", pa.list_(TEXT)), ("answer", pa.int8()), ("hint", TEXT),
              ("task", TEXT), ("grade", TEXT), ("subject", TEXT), ("topic", TEXT), ("category", TEXT)]
    problems, rows = {}, []
    for n in range(8):
        pictured = n not in (2, 5)
        entry = {"question": f"Which is {WORDS[n]}?", "choices": WORDS[n:n + 2 + n % 3], "answer": chance.randrange(2),
                 "hint": "" if n % 2 else "Look at the picture.", "task": "closed choice", "grade": "grade2",
                 "subject": chance.choice(["natural science", "language science"]), "topic": "t", "category": "c"}
        if pictured:
            write(out / f"images/{n}/image.png", picture(f"{n}.png"))
        problems[str(n)] = {**entry, "image": "image.png" if pictured else None, "split": "test"}
        rows.append({**entry, "hint": entry["hint"] or (None if n == 3 else ""),
                     "image": cell(f"{n}.png", "image.png") if pictured else None})
    write_json(out / "problems.json", problems)
    write_table(out / "table/ScienceQA-FULL", "test", schema, rows, 2, 3)
    write_table(out / "table/ScienceQA-IMG", "test", schema, [row for row in rows if row["image"]], 1, 3)


def mme(out, chance):
    schema = [("question_id", TEXT), ("image", IMAGE), ("question", TEXT), ("answer", TEXT), ("category", TEXT)]
    rows = []
    for task, names in (("artwork", ["10.jpg", "11.jpg"]), ("OCR", ["0001.png", "0002.webp"])):
        for name in names:
            file = f"{task}/{name}".replace(".webp", ".jpg")   # the official release has no WebP
            asked = [(f"Is it {chance.choice(WORDS)} {side}? Please answer yes or no.", answer)
                     for side, answer in (("here", "Yes"), ("there", "No"))]
            folder = out / "official" / task
            write(folder / ("images" if task == "artwork" else "") / file.split("/")[1], picture(name))
            write(folder / ("questions_answers_YN" if task == "artwork" else "") / (name.split(".")[0] + ".txt"),
                  "".join(f"{question}\t{answer}\n" for question, answer in asked))
            rows += [{"question_id": file, "image": cell(name, None), "question": question, "answer": answer, "category": task}
                     for question, answer in asked]
    write_table(out / "table/data", "test", schema, rows, 2, 3)


def main():
    out = pathlib.Path(sys.argv[1])
    makers = (vqav2, textvqa, gqa, pope, vizwiz, scienceqa, mme)
    for make in makers:
        shutil.rmtree(out / make.__name__, ignore_errors=True)
        make(out / make.__name__, random.Random(f"{SEED} {make.__name__}"))
    files = sorted(p for p in out.rglob("*") if p.is_file() and p.name != "recipe.json")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(out)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    write_json(out / "recipe.json", {
        "command": "make_parquet.py tests/golden/parquet", "seed": SEED,
        "versions": {"python": platform.python_version(), "pyarrow": pa.__version__, "pillow": PIL.__version__},
        "bytes": sum(file.stat().st_size for file in files), "sha256_of_tree": digest.hexdigest()})


if __name__ == "__main__":
    main()
