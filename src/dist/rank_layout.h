// Which rank of how many this process is, as its launcher says.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace vmla {

struct RankLayout {
  std::int64_t rank = 0;
  std::int64_t world_size = 1;
  std::int64_t local_rank = 0;  // which GPU of the machine
  std::string launcher;         // "torchrun", "srun", "mpirun"; empty for a process of its own
  std::string master_address = "127.0.0.1";
  std::int64_t master_port = 29500;
};

using Environment = std::function<std::optional<std::string>(const std::string& name)>;
std::optional<std::string> process_environment(const std::string& name);

// torchrun: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT. srun: SLURM_PROCID,
// SLURM_NTASKS, SLURM_LOCALID, with MASTER_ADDR or the first node of SLURM_STEP_NODELIST (so only
// inside a step of more than one task). mpirun: OMPI_COMM_WORLD_RANK, …_SIZE, …_LOCAL_RANK with
// MASTER_ADDR (one machine: not needed). Errors: ErrorKind::Usage for variables that contradict
// each other or are missing.
RankLayout read_rank_layout(const Environment& environment = process_environment);

// "node[03-05,9],x1" -> "node03"
std::string first_slurm_node(const std::string& node_list);

}  // namespace vmla
