"""What the speed scripts beside this file share: model directories of any shape, commands watched from outside."""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time

COPIED = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
          "chat_template.json", "generation_config.json")


def speed_parser(description):
    """A command line's first part: the programs, the shapes, and where models and data go."""
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vlm_mla", default="build/cuda/vlm-mla")
    parser.add_argument("--make_random_model", default="build/cuda/tools/make_random_model")
    parser.add_argument("--config", default=here.parent / "tools/llava_1.5_7b_config.json")
    parser.add_argument("--tokenizer", default=here.parent / "models/tiny-llava-shapes")
    parser.add_argument("--work_dir", type=pathlib.Path, required=True)
    return parser


def write_files(config_path, tokenizer_dir, out, mla=None, layers=0):
    """A directory with everything but weights: the shapes of config_path, the tokenizer of tokenizer_dir (its ids for
    <image> and <pad>), an image processor for the shapes' vision tower. mla: (R, r) makes it a converted model.
    layers > 0: so many text layers. The vocabulary's size stays the config's."""
    out, tokenizer_dir = pathlib.Path(out), pathlib.Path(tokenizer_dir)
    out.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (tokenizer_dir / name).exists():
            shutil.copyfile(tokenizer_dir / name, out / name)
    added = json.load(open(tokenizer_dir / "added_tokens.json"))
    config = json.load(open(config_path))
    config.update(image_token_index=added["<image>"], pad_token_id=added["<pad>"])
    config.pop("image_seq_length", None)
    config["text_config"].update(bos_token_id=1, eos_token_id=2)
    if layers > 0:
        config["text_config"]["num_hidden_layers"] = layers
    if mla:
        config["mha2mla"] = {
            "partial_rope_version": "high", "rope_dim_for_mla": mla[0], "uniform_start_point": 0,
            "qk_tensor_path": None, "svd_init_method": "joint", "low_rank": mla[1], "is_baseline": False,
            "is_gqa2mha2mla": False, "is_mla_from_scratch": False}
    json.dump(config, open(out / "config.json", "w"), indent=2)
    vision = config["vision_config"]
    image = json.load(open(tokenizer_dir / "preprocessor_config.json"))
    size = vision["image_size"]
    image.update(crop_size={"height": size, "width": size}, size={"shortest_edge": size})
    json.dump(image, open(out / "preprocessor_config.json", "w"), indent=2)
    processor = json.load(open(tokenizer_dir / "processor_config.json"))
    processor.update(patch_size=vision["patch_size"],
                     vision_feature_select_strategy=config["vision_feature_select_strategy"])
    json.dump(processor, open(out / "processor_config.json", "w"), indent=2)
    return out


def random_model(tool, files, out):
    """A model directory with random bfloat16 weights for write_files' directory, made once."""
    if not (pathlib.Path(out) / "config.json").exists():
        shutil.rmtree(out, ignore_errors=True)
        watched([tool, "--config", files / "config.json", "--files_from", files, "--output_dir", out])
    return out


class DeviceMemory:
    """Highest memory in use on the first GPU, in MiB, sampled by nvidia-smi; None where there is none."""

    def __enter__(self):
        self.peak = None
        try:
            self.process = subprocess.Popen(
                ["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "100"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            self.process = None
            return self
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        return self

    def read(self):
        for line in self.process.stdout:
            if line.strip().isdigit():
                self.peak = max(self.peak or 0, int(line))

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.thread.join()


def watched(command, on_line=None):
    """Runs a command; returns its stdout with what it took. on_line(line, seconds) may return True to end it there."""
    command = [str(part) for part in command]
    print("+", " ".join(command), flush=True)
    start, lines, ended = time.perf_counter(), [], False
    with DeviceMemory() as memory:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            lines.append(line)
            if on_line and on_line(line, time.perf_counter() - start):
                process.kill()
                ended = True
                break
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 and not ended:
        raise SystemExit(f"exit code {process.returncode}: {' '.join(command)}")
    return {"out": "".join(lines), "seconds": round(time.perf_counter() - start, 1), "device_mib": memory.peak,
            "host_mib": usage.ru_maxrss // 1024}


def print_table(rows):
    """rows of equal keys as a Markdown table."""
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join("-" if value is None else str(value) for value in row.values()) + " |", flush=True)


def trained_parameters(model):
    """How many parameters a model directory has outside its vision tower."""
    count = 0
    for path in pathlib.Path(model).glob("*.safetensors"):
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__" and "vision_tower" not in name:
                size = 1
                for length in entry["shape"]:
                    size *= length
                count += size
    return count
