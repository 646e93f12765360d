#include "service/cli/explain.h"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_format.h"

namespace blazon::service::cli {
namespace {

constexpr int kLeast = 10;  // columns of a figure

// Quoted, so that spaces and line ends show. Columns are counted by characters, not bytes.
std::string Quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

int Characters(const std::string& text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

int Width(const v1::SamplingStage& stage) { return std::max(kLeast, static_cast<int>(stage.rule().size())); }

void PrintStep(int number, const v1::SamplingStep& step) {
  int names = static_cast<int>(sizeof("candidates") - 1);
  for (const v1::Token& token : step.tokens()) names = std::max(names, Characters(Quoted(token.text())));
  std::cout << absl::StrFormat("%-*s", names + 2, absl::StrFormat("step %d", number));
  for (const v1::SamplingStage& stage : step.stages())
    std::cout << absl::StrFormat("  %*s", Width(stage), stage.rule());
  std::cout << "\n";
  for (int i = 0; i < step.tokens_size(); ++i) {
    const std::string name = Quoted(step.tokens(i).text());
    std::cout << (step.tokens(i).id() == step.chosen() ? "* " : "  ") << name
              << std::string(static_cast<size_t>(names - Characters(name)), ' ');
    for (const v1::SamplingStage& stage : step.stages()) {
      const double probability = i < stage.probabilities_size() ? stage.probabilities(i) : 0;
      std::cout << "  "
                << (probability > 0 ? absl::StrFormat("%*.4f", Width(stage), probability)
                                    : absl::StrFormat("%*s", Width(stage), "-"));
    }
    std::cout << "\n";
  }
  std::cout << absl::StrFormat("  %-*s", names, "candidates");
  for (const v1::SamplingStage& stage : step.stages())
    std::cout << absl::StrFormat("  %*d", Width(stage), stage.candidates());
  std::cout << "\n\n";
}

}  // namespace

void PrintSteps(const v1::GenerateResponse& response) {
  for (int i = 0; i < response.steps_size(); ++i) PrintStep(i + 1, response.steps(i));
}

}  // namespace blazon::service::cli
