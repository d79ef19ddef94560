// Whether products of float32 matrices on a GPU may round their factors to TF32, for a scope.
#pragma once

#include <ATen/Context.h>

namespace vmla {

class Float32Products {
 public:
  explicit Float32Products(bool tf32) : before_(at::globalContext().float32MatmulPrecision()) {
    set(tf32 ? at::Float32MatmulPrecision::HIGH : at::Float32MatmulPrecision::HIGHEST);
  }
  ~Float32Products() { set(before_); }
  Float32Products(const Float32Products&) = delete;
  Float32Products& operator=(const Float32Products&) = delete;

 private:
  static void set(at::Float32MatmulPrecision precision) {
    at::globalContext().setFloat32MatmulPrecision(
        precision == at::Float32MatmulPrecision::HIGHEST ? "highest"
        : precision == at::Float32MatmulPrecision::HIGH  ? "high"
                                                         : "medium");
  }
  at::Float32MatmulPrecision before_;
};

}  // namespace vmla
