#include "vision/projector.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>

#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::vision {

Projector Projector::Random(int64_t cells, int64_t channels, int64_t hidden, int64_t width, double output_norm,
                            uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  auto normal = [&](at::IntArrayRef shape, double deviation) {
    return at::empty(shape, at::kFloat).normal_(0, deviation, generator);
  };
  // GELU of unit normals has a second moment of about 0.43.
  const double last = output_norm / std::sqrt(0.43 * hidden * width);
  std::map<std::string, at::Tensor> tensors;
  tensors["norm.weight"] = at::ones({channels});
  tensors["norm.bias"] = at::zeros({channels});
  tensors["fc1.weight"] = normal({hidden, channels}, 1 / std::sqrt(static_cast<double>(channels)));
  tensors["fc1.bias"] = at::zeros({hidden});
  tensors["fc2.weight"] = normal({width, hidden}, last);
  tensors["fc2.bias"] = at::zeros({width});
  tensors["position"] = at::zeros({cells, width});
  return Projector(std::move(tensors));
}

absl::StatusOr<Projector> Projector::FromTensors(const std::map<std::string, at::Tensor>& tensors) {
  std::map<std::string, at::Tensor> own;
  for (const char* name :
       {"norm.weight", "norm.bias", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "position"}) {
    const auto found = tensors.find(name);
    if (found == tensors.end())
      return absl::InvalidArgumentError(absl::StrCat("the connector lacks its tensor ", name));
    own[name] = found->second.to(at::kFloat).contiguous().clone();
  }
  auto require = [&](const char* name, at::IntArrayRef shape) -> absl::Status {
    if (own[name].sizes() == shape) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("the connector's tensor ", name, " does not fit the others in shape"));
  };
  for (const char* name : {"fc1.weight", "fc2.weight", "position"}) {
    if (own[name].dim() != 2)
      return absl::InvalidArgumentError(absl::StrCat("the connector's tensor ", name, " is not a matrix"));
  }
  const int64_t hidden = own["fc1.weight"].size(0), channels = own["fc1.weight"].size(1),
                width = own["fc2.weight"].size(0);
  for (const absl::Status& status :
       {require("norm.weight", {channels}), require("norm.bias", {channels}), require("fc1.bias", {hidden}),
        require("fc2.weight", {width, hidden}), require("fc2.bias", {width}),
        require("position", {own["position"].size(0), width})}) {
    if (!status.ok()) return status;
  }
  return Projector(std::move(own));
}

at::Tensor Projector::Forward(const at::Tensor& cells) const {
  const at::Tensor x = at::layer_norm(cells, {channels()}, tensors_.at("norm.weight"), tensors_.at("norm.bias"), 1e-5);
  const at::Tensor hidden = at::gelu(at::linear(x, tensors_.at("fc1.weight"), tensors_.at("fc1.bias")));  // [B, T, H]
  return at::linear(hidden, tensors_.at("fc2.weight"), tensors_.at("fc2.bias"))
      .add(tensors_.at("position"));  // [B, T, D]
}

int64_t Projector::channels() const { return tensors_.at("fc1.weight").size(1); }
int64_t Projector::width() const { return tensors_.at("fc2.weight").size(0); }
int64_t Projector::cells() const { return tensors_.at("position").size(0); }

}  // namespace blazon::vision
