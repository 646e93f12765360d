// What is in a picture and where, as names with probabilities: the encoder's own classifier, extended by rows for the
// names that it does not have. The reading goes into the prompt in words, which the language model was trained to trust
// (compare Huang et al. 2023, Tag2Text, arXiv 2303.05657).
//
// Shapes: B pictures, C channels, K classes of the encoder, R added rows, N concepts.
// Thread safety: const after Create.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vision/image_encoder.h"

namespace blazon::service {

// A thing that can be named. Several rows may stand for one concept (a photo of a lion, a drawing of one).
struct Concept {
  std::string name;  // "tabby", "pair of scissors"
  std::string kind;  // "cat", "tool"; empty: none
};

// The cells that the connector and the tagger see: a 3 x 3 grid in row-major order, then the mean of the whole map.
constexpr int64_t kGrid = 3;
constexpr int64_t kCells = kGrid * kGrid + 1;
// The places that the tagger reads: whole, left, right, top, bottom.
constexpr int64_t kRegions = 5;

// Feature map [B, C, h, w] to cells [B, kCells, C].
at::Tensor PoolCells(const at::Tensor& features);
// Cells [B, kCells, C] to regions [B, kRegions, C].
at::Tensor PoolRegions(const at::Tensor& cells);

class Tagger {
 public:
  // row_concepts: for each class of the encoder, then for each added row, the index of its concept.
  // weight: [R, C], bias: [R], of the added rows. kInvalidArgument: sizes that do not fit each other.
  static absl::StatusOr<Tagger> Create(std::vector<Concept> concepts, std::vector<int64_t> row_concepts,
                                       at::Tensor weight, at::Tensor bias);

  // regions: [..., C]. Returns log-probabilities of all rows, [..., K + R]; differentiable in the added rows.
  at::Tensor RowLogProbabilities(const vision::ImageEncoder& encoder, const at::Tensor& regions) const;

  // Probabilities of the concepts [..., N]: of each, the sum over its rows.
  at::Tensor ConceptProbabilities(const at::Tensor& row_log_probabilities) const;

  // The `count` best concepts of one region; probabilities: [N].
  std::vector<vision::Label> Best(const at::Tensor& probabilities, int64_t count) const;

  // How a reading puts what is unsure. The language model learns from full ones; captions are made from cautious ones.
  enum class Manner {
    kFull,      // "likely heron or egret, surely bird"
    kCautious,  // "surely bird": the kind alone, where it is sure and the name is not
  };

  // A picture's reading in words, for the prompt; probabilities: [kRegions, N]. Such as
  // "surely pig", "likely heron or egret, surely bird", "maybe pig or guitar; left surely pig, right likely guitar".
  std::string Describe(const at::Tensor& probabilities, Manner manner = Manner::kFull) const;

  const std::vector<Concept>& concepts() const { return concepts_; }
  const std::vector<int64_t>& row_concepts() const { return row_concepts_; }
  const at::Tensor& weight() const { return weight_; }
  const at::Tensor& bias() const { return bias_; }

 private:
  Tagger() = default;
  // "surely pig"; the kind where no name is likely; "unclear".
  std::string Word(const float* probabilities, Manner manner) const;
  std::vector<double> Kinds(const float* probabilities) const;

  std::vector<Concept> concepts_;
  std::vector<std::string> kinds_;
  std::vector<int64_t> concept_kind_;  // index into kinds_; -1: none
  std::vector<int64_t> row_concepts_;
  at::Tensor row_concept_index_;  // int64 [K + R]
  at::Tensor weight_, bias_;
};

}  // namespace blazon::service
