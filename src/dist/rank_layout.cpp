#include "dist/rank_layout.h"

#include <charconv>
#include <cstdlib>

#include "base/error.h"

namespace vmla {
namespace {

std::int64_t parse_number(const std::string& name, const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  check(code == std::errc() && stop == end && value >= 0,
        ErrorKind::Usage,
        "{}: expected a number, got \"{}\"",
        name,
        text);
  return value;
}

class Reader {
 public:
  explicit Reader(const Environment& environment) : environment_(environment) {}

  bool has(const std::string& name) const { return environment_(name).has_value(); }
  std::int64_t number(const std::string& name) const {
    const auto text = environment_(name);
    check(text.has_value(), ErrorKind::Usage, "{}: expected beside the launcher's others", name);
    return parse_number(name, *text);
  }
  std::optional<std::string> text(const std::string& name) const { return environment_(name); }

 private:
  const Environment& environment_;
};

void read_master(const Reader& env, RankLayout& layout) {
  if (const auto address = env.text("MASTER_ADDR")) {
    layout.master_address = *address;
  } else if (const auto nodes = env.text("SLURM_STEP_NODELIST");
             layout.launcher == "srun" && nodes) {
    layout.master_address = first_slurm_node(*nodes);
  } else {
    const std::string local_size = "OMPI_COMM_WORLD_LOCAL_SIZE";
    const bool one_machine = layout.launcher == "mpirun" && env.has(local_size) &&
                             env.number(local_size) == layout.world_size;
    check(one_machine,
          ErrorKind::Usage,
          "MASTER_ADDR: expected the address of rank 0 for {} ranks, found none",
          layout.world_size);
  }
  if (env.has("MASTER_PORT")) {
    layout.master_port = env.number("MASTER_PORT");
  } else if (env.has("SLURM_JOB_ID")) {
    // Jobs that share a machine get different ports.
    layout.master_port = 20000 + env.number("SLURM_JOB_ID") % 20000;
  }
}

}  // namespace

std::optional<std::string> process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

std::string first_slurm_node(const std::string& node_list) {
  const std::size_t bracket = node_list.find('[');
  const std::size_t comma = node_list.find(',');
  if (bracket == std::string::npos || comma < bracket) return node_list.substr(0, comma);
  const std::size_t end = node_list.find_first_of("],-", bracket);
  return node_list.substr(0, bracket) + node_list.substr(bracket + 1, end - bracket - 1);
}

RankLayout read_rank_layout(const Environment& environment) {
  const Reader env(environment);
  RankLayout layout;
  if (env.has("RANK") || env.has("WORLD_SIZE")) {
    layout.launcher = "torchrun";
    layout.rank = env.number("RANK");
    layout.world_size = env.number("WORLD_SIZE");
    layout.local_rank = env.has("LOCAL_RANK") ? env.number("LOCAL_RANK") : layout.rank;
  } else if (env.has("OMPI_COMM_WORLD_RANK")) {
    layout.launcher = "mpirun";
    layout.rank = env.number("OMPI_COMM_WORLD_RANK");
    layout.world_size = env.number("OMPI_COMM_WORLD_SIZE");
    layout.local_rank = env.number("OMPI_COMM_WORLD_LOCAL_RANK");
  } else if (env.has("SLURM_STEP_NODELIST") && env.has("SLURM_PROCID")) {
    layout.launcher = "srun";
    layout.rank = env.number("SLURM_PROCID");
    layout.world_size = env.number("SLURM_NTASKS");
    layout.local_rank = env.number("SLURM_LOCALID");
  }
  check(layout.world_size >= 1 && layout.rank < layout.world_size,
        ErrorKind::Usage,
        "{}: expected a rank below the world size, got rank {} of {}",
        layout.launcher,
        layout.rank,
        layout.world_size);
  if (layout.world_size > 1) read_master(env, layout);
  return layout;
}

}  // namespace vmla
