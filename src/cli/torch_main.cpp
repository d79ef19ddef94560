#include "cli/program.h"

int main(int argc, char** argv) {
  return vmla::run_program(argc, argv);
}
