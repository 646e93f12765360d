// The kernels of 8-bit encoders against plain loops in double precision.
#include "language/ops/encoder_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "language/ops/int8_matrix.h"

namespace blazon::language {
namespace {

class EncoderKernelsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!HasEncoderKernels()) GTEST_SKIP() << "this processor has no AVX-512 with VNNI and BF16";
  }

  std::vector<float> Normal(int64_t count, float deviation = 1) {
    std::normal_distribution<float> normal(0, deviation);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random_);
    return values;
  }

  std::mt19937 random_{7};
};

double GeluOf(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }

// The root of the mean squared difference over that of the mean square.
double RelativeError(const std::vector<float>& found, const std::vector<double>& expected) {
  EXPECT_EQ(found.size(), expected.size());
  double error = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  EXPECT_GT(size, 0);
  return std::sqrt(error / size);
}

TEST_F(EncoderKernelsTest, ProductsIn8BitsAreNearToPlainOnes) {
  const struct {
    int64_t rows, inputs, outputs;
    bool gelu;
  } cases[] = {{1, 64, 64, false}, {2, 128, 64, true},   {3, 384, 128, false}, {4, 64, 192, false},
               {5, 448, 64, true}, {6, 1536, 64, false}, {7, 384, 384, false}, {60, 1536, 128, true}};
  for (const auto& [rows, inputs, outputs, gelu] : cases) {
    std::vector<float> x = Normal(rows * inputs), weight = Normal(outputs * inputs, 0.05f), bias = Normal(outputs);
    // Outliers, and groups of zeros.
    for (int64_t i = 0; i < rows * inputs; i += 97) x[static_cast<size_t>(i)] *= 20;
    std::fill(x.begin(), x.begin() + 64, 0.0f);
    std::fill(weight.begin(), weight.begin() + 64, 0.0f);
    std::vector<double> expected;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t output = 0; output < outputs; ++output) {
        double sum = bias[static_cast<size_t>(output)];
        for (int64_t i = 0; i < inputs; ++i) {
          const double value = x[static_cast<size_t>(row * inputs + i)];
          sum += (gelu ? GeluOf(value) : value) * weight[static_cast<size_t>(output * inputs + i)];
        }
        expected.push_back(sum);
      }
    }
    const Int8Matrix matrix(weight.data(), bias.data(), outputs, inputs);
    Int8Rows bytes;
    bytes.Assign(Normal(9 * inputs).data(), 9, inputs);  // what it held before must not matter
    bytes.Assign(x.data(), rows, inputs, gelu);
    std::vector<float> found(static_cast<size_t>(rows * outputs), NAN);
    matrix.Multiply(bytes, found.data());
    EXPECT_LT(RelativeError(found, expected), 0.015) << rows << " x " << inputs << " x " << outputs;
    // A row is the same whatever comes with it.
    bytes.Assign(x.data() + (rows - 1) * inputs, 1, inputs, gelu);
    std::vector<float> alone(static_cast<size_t>(outputs));
    matrix.Multiply(bytes, alone.data());
    for (int64_t i = 0; i < outputs; ++i)
      EXPECT_EQ(alone[static_cast<size_t>(i)], found[static_cast<size_t>((rows - 1) * outputs + i)]);
  }
}

TEST_F(EncoderKernelsTest, AttentionInBfloat16IsNearToThePlainOne) {
  for (const int64_t head_width : {32, 64}) {
    for (const int64_t tokens : {1, 2, 3, 15, 64, 65, 96, 97, 255, 256}) {
      const int64_t heads = 3, width = heads * head_width;
      const std::vector<float> qkv = Normal(tokens * 3 * width, 1.5f);
      const auto at = [&](int64_t token, int64_t part, int64_t head, int64_t channel) -> double {
        return qkv[static_cast<size_t>(((token * 3 + part) * heads + head) * head_width + channel)];
      };
      std::vector<double> expected(static_cast<size_t>(tokens * width));
      for (int64_t head = 0; head < heads; ++head) {
        for (int64_t query = 0; query < tokens; ++query) {
          std::vector<double> shares(static_cast<size_t>(tokens));
          double sum = 0;
          for (int64_t key = 0; key < tokens; ++key) {
            double score = 0;
            for (int64_t c = 0; c < head_width; ++c) score += at(query, 0, head, c) * at(key, 1, head, c);
            sum += shares[static_cast<size_t>(key)] = std::exp(score / std::sqrt(static_cast<double>(head_width)));
          }
          for (int64_t key = 0; key < tokens; ++key) {
            for (int64_t c = 0; c < head_width; ++c) {
              expected[static_cast<size_t>(query * width + head * head_width + c)] +=
                  shares[static_cast<size_t>(key)] / sum * at(key, 2, head, c);
            }
          }
        }
      }
      std::vector<float> found(static_cast<size_t>(tokens * width), NAN);
      AttendInBfloat16(qkv.data(), tokens, heads, head_width, found.data());
      EXPECT_LT(RelativeError(found, expected), 0.01) << tokens << " tokens, heads of " << head_width;
    }
  }
}

TEST_F(EncoderKernelsTest, SumsAreNormalizedRowByRow) {
  const int64_t rows = 5, width = 48;
  std::vector<float> x = Normal(rows * width, 3);
  const std::vector<float> y = Normal(rows * width), weight = Normal(width), bias = Normal(width);
  std::vector<double> expected;
  for (int64_t row = 0; row < rows; ++row) {
    double mean = 0, variance = 0;
    const auto value = [&](int64_t i) {
      return static_cast<double>(x[static_cast<size_t>(row * width + i)]) + y[static_cast<size_t>(row * width + i)];
    };
    for (int64_t i = 0; i < width; ++i) mean += value(i) / width;
    for (int64_t i = 0; i < width; ++i) variance += (value(i) - mean) * (value(i) - mean) / width;
    for (int64_t i = 0; i < width; ++i) {
      expected.push_back((value(i) - mean) / std::sqrt(variance + 1e-5) * weight[static_cast<size_t>(i)] +
                         bias[static_cast<size_t>(i)]);
    }
  }
  AddAndNormalize(x.data(), y.data(), rows, width, weight.data(), bias.data(), 1e-5f, x.data());
  EXPECT_LT(RelativeError(x, expected), 1e-6);
}

}  // namespace
}  // namespace blazon::language
