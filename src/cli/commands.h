// The verbs. Each function adds one subcommand whose callback does the work and prints the result.
#pragma once

namespace CLI {
class App;
}

namespace vmla {

// Callbacks throw vmla::Error; one that ends with another exit code throws CLI::RuntimeError(code).
void add_generate_command(CLI::App& program);
void add_inspect_command(CLI::App& program);
void add_bench_command(CLI::App& program);
void add_rank_command(CLI::App& program);
void add_convert_command(CLI::App& program);
void add_download_command(CLI::App& program);
void add_download_dataset_command(CLI::App& program);
void add_train_command(CLI::App& program);
void add_eval_command(CLI::App& program);
void add_make_data_command(CLI::App& program);
void add_demo_command(CLI::App& program);

// The verbs below `eval` that need no model.
void add_eval_score(CLI::App& eval_app);
void add_eval_compare(CLI::App& eval_app);
// What `eval` does by itself: a model on a benchmark.
// original: with the defaults of the Python original's eval_vqa.
void add_eval_run(CLI::App& eval_app, bool original);

}  // namespace vmla
