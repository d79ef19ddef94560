// The benchmarks as Parquet tables with the pictures inside, as the lmms-lab datasets on the hub
// are. The samples are those of the official files (benchmark_files.h), whose image is a name and
// whose cell is where the picture stands; pictures are not read.
//
// Errors of all: ErrorKind::Io for files that are missing or damaged; ErrorKind::Config, naming
// file and row or column, for what does not fit; ErrorKind::Usage where several configurations have
// the split and none was chosen.
#pragma once

#include <string>
#include <vector>

#include "base/files.h"
#include "data/vqa_sample.h"

namespace vmla {

struct TableRequest {
  fs::path dataset;  // a folder, or one Parquet file
  std::string split;
  std::string config;  // the folder below; empty: the benchmark's own, or the only one
};

std::vector<VqaSample> load_vqav2_table(const TableRequest& request);
std::vector<VqaSample> load_textvqa_table(const TableRequest& request);
std::vector<VqaSample> load_vizwiz_table(const TableRequest& request);
// The balanced questions unless another configuration is asked for. Pictures may be a table of
// their own, joined by its id.
std::vector<VqaSample> load_gqa_table(const TableRequest& request);
// Without a column that tells the category the split is it.
std::vector<VqaSample> load_pope_table(const TableRequest& request);
// ScienceQA-IMG if there are several. A row without an id is called by its number.
std::vector<VqaSample> load_scienceqa_table(const TableRequest& request);
std::vector<VqaSample> load_mme_table(const TableRequest& request);

// Which benchmark's table it is, as far as the questions' wording goes: ScienceQa where there are
// choices, Gqa where the pictures are a table of their own, else Open.
enum class TableKind { Open, Gqa, ScienceQa };
TableKind table_kind(const TableRequest& request);
// Questions of any table with pictures, without answers. The id is the row's number where there is
// no column of ids; where one repeats, the later ones are called "id#2", …
std::vector<VqaSample> load_open_table(const TableRequest& request);

}  // namespace vmla
