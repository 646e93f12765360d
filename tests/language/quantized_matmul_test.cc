// Quantised kernels against Dequantize and a product in double precision.
#include "language/ops/quantized_matmul.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "language/models/llama.h"
#include "language/ops/quantized_kernels.h"
#include "tests/language/formula_weights.h"

namespace blazon::language {
namespace {

// Random blocks with random scales: every bit pattern of the quants occurs.
QuantizedTensor RandomMatrix(QuantFormat format, int64_t rows, int64_t columns, uint32_t seed) {
  std::mt19937 random(seed);
  QuantizedTensor matrix{format, rows, columns, at::empty({rows, columns / 32 * QuantBlockBytes(format)}, at::kByte)};
  auto* bytes = matrix.blocks.data_ptr<uint8_t>();
  for (int64_t block = 0; block < rows * columns / 32; ++block, bytes += QuantBlockBytes(format)) {
    for (int64_t i = 0; i < QuantBlockBytes(format); ++i) bytes[i] = static_cast<uint8_t>(random());
    for (int64_t half = 0; half < (format == QuantFormat::kQ4_1 ? 2 : 1); ++half) {
      const c10::Half value = (static_cast<float>(random() % 2001) - 1000.0f) / 10000.0f;
      std::memcpy(bytes + 2 * half, &value, 2);
    }
  }
  return matrix;
}

using Case = std::tuple<QuantFormat, int64_t /*N*/, int64_t /*I*/, int64_t /*O*/, QuantKernels>;

class QuantizedMatmulTest : public testing::TestWithParam<Case> {};

TEST_P(QuantizedMatmulTest, AgreesWithDequantizeInDouble) {
  const auto [format, count, inputs, outputs, kernels] = GetParam();
  if (!IsSupported(kernels)) GTEST_SKIP() << "this processor lacks the instructions";
  const QuantizedTensor matrix = RandomMatrix(format, outputs, inputs, static_cast<uint32_t>(inputs + outputs));
  const at::Tensor x = FormulaWeight(absl::StrCat("x", count), {count, inputs});
  const at::Tensor dense = Dequantize(matrix).to(at::kDouble);
  const at::Tensor expected = x.to(at::kDouble).matmul(dense.t());
  // The error of a sum in fp32 grows with the sum of magnitudes.
  const at::Tensor bound = x.to(at::kDouble).abs().matmul(dense.abs().t()) * 1e-6 + 1e-9;
  EXPECT_GT(expected.abs().max().item<double>(), 0.01) << "the case would be trivial";
  const auto check = [&](const at::Tensor& result) {
    ASSERT_EQ(result.sizes(), expected.sizes());
    EXPECT_TRUE(((result.to(at::kDouble) - expected).abs() <= bound).all().item<bool>())
        << "largest error " << (result.to(at::kDouble) - expected).abs().max().item<double>();
  };
  check(QuantizedMatmulByRows(x, matrix, kernels));
  check(QuantizedMatmulByTiles(x, matrix, kernels));
  check(QuantizedMatmul(x, matrix));
}

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  const auto [format, count, inputs, outputs, kernels] = info.param;
  const char* name = format == QuantFormat::kQ4_0 ? "Q4_0" : format == QuantFormat::kQ4_1 ? "Q4_1" : "Q8_0";
  return absl::StrCat(name, "_", count, "x", inputs, "x", outputs,
                      kernels == QuantKernels::kAvx2 ? "_avx2" : "_portable");
}

INSTANTIATE_TEST_SUITE_P(Table, QuantizedMatmulTest,
                         testing::Combine(testing::Values(QuantFormat::kQ4_0, QuantFormat::kQ4_1, QuantFormat::kQ8_0),
                                          testing::Values(1, 2, 3, 4, 5, 8, 17), testing::Values(32, 96, 576),
                                          testing::Values(1, 7, 192),
                                          testing::Values(QuantKernels::kPortable, QuantKernels::kAvx2)),
                         CaseName);

TEST(QuantizedKernelsTest, DecodedRowsAreThoseOfDequantizeBitForBit) {
  for (const QuantFormat format : {QuantFormat::kQ4_0, QuantFormat::kQ4_1, QuantFormat::kQ8_0}) {
    const QuantizedTensor matrix = RandomMatrix(format, 40, 320, 5);
    const at::Tensor expected = Dequantize(matrix);
    for (const QuantKernelSet* set : {&PortableQuantKernels(), Avx2QuantKernels()}) {
      if (set == nullptr) continue;
      at::Tensor decoded = at::empty({40, 320}, at::kFloat);
      for (int64_t row = 0; row < 40; ++row) {
        set->For(format).decode(matrix.blocks[row].const_data_ptr<uint8_t>(), 10, decoded[row].data_ptr<float>());
      }
      EXPECT_TRUE(decoded.equal(expected));
    }
  }
}

// What makes batched text equal to unbatched text: a row's result is the same, bit for bit, whatever rows stand beside
// it.
TEST(QuantizedKernelsTest, ARowDoesNotDependOnItsNeighbours) {
  for (const QuantFormat format : {QuantFormat::kQ4_0, QuantFormat::kQ4_1, QuantFormat::kQ8_0}) {
    const QuantizedTensor matrix = RandomMatrix(format, 200, 576, 9);
    const at::Tensor x = FormulaWeight("neighbours", {11, 576});
    for (const QuantKernels kernels : {QuantKernels::kPortable, QuantKernels::kAvx2}) {
      if (!IsSupported(kernels)) continue;
      const at::Tensor together = QuantizedMatmulByRows(x, matrix, kernels);
      for (int64_t row = 0; row < 11; ++row) {
        EXPECT_TRUE(QuantizedMatmulByRows(x.narrow(0, row, 1), matrix, kernels).equal(together.narrow(0, row, 1)));
      }
    }
  }
}

// A quantised model: gradients reach the embeddings, and the output is that of its dequantised self.
TEST(QuantizedLlamaTest, AgreesWithItsDequantisedSelf) {
  const LlamaConfig config = {.width = 64,
                              .layers = 2,
                              .heads = 4,
                              .key_heads = 2,
                              .mlp_width = 96,
                              .vocabulary_size = 64,
                              .context_length = 64,
                              .tie_embeddings = true};
  StateDict weights = FormulaLlama(config);
  for (auto& [name, weight] : weights) {
    const at::Tensor& dense = std::get<at::Tensor>(weight);
    if (dense.dim() == 2)
      weight =
          RandomMatrix(name.size() % 2 == 0 ? QuantFormat::kQ4_1 : QuantFormat::kQ8_0, dense.size(0), dense.size(1), 3);
  }
  const auto quantised = LlamaModel::Create(config, weights, Dtype::kAuto),
             dense = LlamaModel::Create(config, weights, Dtype::kFp32);
  ASSERT_TRUE(quantised.ok() && dense.ok());
  for (const int64_t count : {1, 5, 40}) {
    at::NoGradGuard no_grad;
    const at::Tensor embeddings = FormulaWeight("embeddings", {count, 64});
    const at::Tensor a = (*quantised)->Logits((*quantised)->Forward({{.embeddings = embeddings}}));
    const at::Tensor b = (*dense)->Logits((*dense)->Forward({{.embeddings = embeddings}}));
    EXPECT_LE((a - b).abs().max().item<double>(), 1e-4 * b.abs().max().item<double>()) << count << " rows";
  }
  at::Tensor first = FormulaWeight("embeddings", {9, 64}).requires_grad_(),
             second = first.detach().clone().requires_grad_();
  (*quantised)->Forward({{.embeddings = first}}).square().sum().backward();
  (*dense)->Forward({{.embeddings = second}}).square().sum().backward();
  EXPECT_LE((first.grad() - second.grad()).abs().max().item<double>(), 1e-4 * second.grad().abs().max().item<double>());
}

}  // namespace
}  // namespace blazon::language
