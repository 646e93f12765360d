#include "service/families/tagger.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

constexpr double kSurely = 0.7, kLikely = 0.35;

const char* Confidence(double probability) {
  return probability >= kSurely ? "surely " : probability >= kLikely ? "likely " : "maybe ";
}

}  // namespace

at::Tensor PoolCells(const at::Tensor& features) {
  const at::Tensor grid = at::adaptive_avg_pool2d(features, {kGrid, kGrid}).flatten(2).transpose(1, 2);  // [B, 9, C]
  return at::cat({grid, features.mean({2, 3}).unsqueeze(1)}, 1).contiguous();                            // [B, 10, C]
}

at::Tensor PoolRegions(const at::Tensor& cells) {
  const at::Tensor grid = cells.slice(1, 0, kGrid * kGrid).view({cells.size(0), kGrid, kGrid, cells.size(2)});
  return at::stack({cells.select(1, kGrid * kGrid), grid.select(2, 0).mean(1), grid.select(2, kGrid - 1).mean(1),
                    grid.select(1, 0).mean(1), grid.select(1, kGrid - 1).mean(1)},
                   1);
}

absl::StatusOr<Tagger> Tagger::Create(std::vector<Concept> concepts, std::vector<int64_t> row_concepts,
                                      at::Tensor weight, at::Tensor bias) {
  if (weight.dim() != 2 || bias.dim() != 1 || weight.size(0) != bias.size(0) ||
      static_cast<int64_t>(row_concepts.size()) < weight.size(0)) {
    return absl::InvalidArgumentError("the tagger's rows, biases and concepts differ in number");
  }
  for (const int64_t index : row_concepts) {
    if (index < 0 || index >= static_cast<int64_t>(concepts.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("a row of the tagger names concept ", index, " of ", concepts.size()));
    }
  }
  Tagger tagger;
  std::map<std::string, int64_t> kinds;
  for (const Concept& concept_ : concepts) {
    if (concept_.kind.empty()) {
      tagger.concept_kind_.push_back(-1);
      continue;
    }
    const auto [place, added] = kinds.try_emplace(concept_.kind, static_cast<int64_t>(tagger.kinds_.size()));
    if (added) tagger.kinds_.push_back(concept_.kind);
    tagger.concept_kind_.push_back(place->second);
  }
  tagger.concepts_ = std::move(concepts);
  tagger.row_concept_index_ = at::tensor(row_concepts, at::kLong);
  tagger.row_concepts_ = std::move(row_concepts);
  tagger.weight_ = std::move(weight);
  tagger.bias_ = std::move(bias);
  return tagger;
}

at::Tensor Tagger::RowLogProbabilities(const vision::ImageEncoder& encoder, const at::Tensor& regions) const {
  const at::Tensor flat = regions.reshape({-1, regions.size(-1)});                             // [M, C]
  const at::Tensor classes = encoder.Classify(flat.view({flat.size(0), flat.size(1), 1, 1}));  // [M, K]
  const at::Tensor logits = at::cat({classes, at::linear(flat, weight_, bias_)}, 1);           // [M, K + R]
  std::vector<int64_t> shape = regions.sizes().vec();
  shape.back() = logits.size(1);
  return at::log_softmax(logits, 1).view(shape);
}

at::Tensor Tagger::ConceptProbabilities(const at::Tensor& row_log_probabilities) const {
  std::vector<int64_t> shape = row_log_probabilities.sizes().vec();
  shape.back() = static_cast<int64_t>(concepts_.size());
  return at::zeros(shape, at::kFloat).index_add(-1, row_concept_index_, row_log_probabilities.exp());
}

std::vector<vision::Label> Tagger::Best(const at::Tensor& probabilities, int64_t count) const {
  const auto [values, indices] = probabilities.topk(std::min<int64_t>(count, probabilities.size(0)));
  std::vector<vision::Label> labels;
  for (int64_t i = 0; i < values.size(0); ++i) {
    labels.push_back({concepts_[static_cast<size_t>(indices[i].item<int64_t>())].name, values[i].item<double>()});
  }
  return labels;
}

std::vector<double> Tagger::Kinds(const float* probabilities) const {
  std::vector<double> sums(kinds_.size(), 0);
  for (size_t i = 0; i < concepts_.size(); ++i) {
    if (concept_kind_[i] >= 0) sums[static_cast<size_t>(concept_kind_[i])] += probabilities[i];
  }
  return sums;
}

std::string Tagger::Word(const float* probabilities, Manner manner) const {
  const size_t best =
      static_cast<size_t>(std::max_element(probabilities, probabilities + concepts_.size()) - probabilities);
  const std::vector<double> kinds = Kinds(probabilities);
  const size_t kind = static_cast<size_t>(std::max_element(kinds.begin(), kinds.end()) - kinds.begin());
  const bool kind_alone =
      manner == Manner::kCautious && probabilities[best] < kSurely && !kinds.empty() && kinds[kind] >= kSurely;
  if (probabilities[best] >= kLikely && !kind_alone)
    return absl::StrCat(Confidence(probabilities[best]), concepts_[best].name);
  if (!kinds.empty() && kinds[kind] >= 0.5) return absl::StrCat(Confidence(kinds[kind]), kinds_[kind]);
  return probabilities[best] >= 0.12F ? absl::StrCat("maybe ", concepts_[best].name) : "unclear";
}

std::string Tagger::Describe(const at::Tensor& probabilities, Manner manner) const {
  const at::Tensor dense = probabilities.contiguous();
  const int64_t count = static_cast<int64_t>(concepts_.size());
  // The axis along which the picture changes more, when it does.
  const double across = 0.5 * dense[1].sub(dense[2]).abs().sum().item<double>();
  const double along = 0.5 * dense[3].sub(dense[4]).abs().sum().item<double>();
  const bool divided = std::max(across, along) >= 0.4;
  const int64_t first = across >= along ? 1 : 3;
  // Two things side by side: the larger one must not speak for the whole.
  at::Tensor whole = dense[0];
  const bool two =
      divided && dense[first].max().item<double>() >= kLikely && dense[first + 1].max().item<double>() >= kLikely;
  if (two) {
    whole = dense[first].add(dense[first + 1]).mul(0.5);
  }

  const std::vector<vision::Label> best = Best(whole, 2);
  std::string text = "unclear";
  if (best[0].probability >= 0.12) {
    text = absl::StrCat(Confidence(best[0].probability), best[0].name);
    if (best[1].probability >= 0.15) absl::StrAppend(&text, " or ", best[1].name);
  }
  if (best[0].probability < kSurely) {
    const std::vector<double> kinds = Kinds(whole.data_ptr<float>());
    const size_t kind = static_cast<size_t>(std::max_element(kinds.begin(), kinds.end()) - kinds.begin());
    if (manner == Manner::kCautious && !two && !kinds.empty() && kinds[kind] >= kSurely)
      return absl::StrCat(Confidence(kinds[kind]), kinds_[kind]);
    if (!kinds.empty() && kinds[kind] >= 0.4 && kinds_[kind] != best[0].name) {
      absl::StrAppend(&text, ", ", Confidence(kinds[kind]), kinds_[kind]);
    }
  }
  if (!divided) return text;
  const float* region = dense.data_ptr<float>();
  return absl::StrCat(text, "; ", first == 1 ? "left " : "top ", Word(region + first * count, manner), ", ",
                      first == 1 ? "right " : "bottom ", Word(region + (first + 1) * count, manner));
}

}  // namespace blazon::service
