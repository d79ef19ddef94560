#include "nn/checkpointing.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace vmla {
namespace {

namespace autograd = torch::autograd;
using Body = std::function<at::Tensor(const at::Tensor&)>;

// anchor requires a gradient always, so that backward is called when only the layer's weights do.
struct Recompute : autograd::Function<Recompute> {
  static at::Tensor forward(autograd::AutogradContext* context,
                            const at::Tensor& hidden,
                            const at::Tensor& /*anchor*/,
                            const std::shared_ptr<Body>& body) {
    context->save_for_backward({hidden});
    context->saved_data["body"] = c10::IValue::make_capsule(c10::make_intrusive<Capsule>(body));
    return (*body)(hidden);
  }

  static autograd::variable_list backward(autograd::AutogradContext* context,
                                          const autograd::variable_list& gradient) {
    const at::Tensor saved = context->get_saved_variables().at(0);
    const auto capsule = context->saved_data.at("body").toCapsule();
    const auto& body = *static_cast<Capsule*>(capsule.get())->body;
    at::Tensor input = saved.detach();
    input.requires_grad_(saved.requires_grad());
    at::Tensor output;
    {
      const at::AutoGradMode grad(true);
      output = body(input);
    }
    autograd::backward({output}, {gradient.at(0)});
    return {input.grad(), at::Tensor(), at::Tensor()};
  }

  struct Capsule : torch::CustomClassHolder {
    explicit Capsule(std::shared_ptr<Body> held) : body(std::move(held)) {}
    std::shared_ptr<Body> body;
  };
};

}  // namespace

at::Tensor run_checkpointed(const Body& body, const at::Tensor& hidden) {
  const at::Tensor anchor = at::empty({0}, hidden.options()).requires_grad_(true);
  return Recompute::apply(hidden, anchor, std::make_shared<Body>(body));
}

}  // namespace vmla
