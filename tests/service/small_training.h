// What tests of the training commands start from: a folder with a small model in it and a text to learn.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/service/family_cases.h"
#include "tests/service/small_tokenizer.h"

namespace blazon::service {

class SmallTraining : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "small_training_", getpid());
    std::filesystem::remove_all(folder_);
    const nlohmann::json& made = FamilyCases()["llama.grouped"];
    nlohmann::json config = made["config"];
    config["eos_token_id"] = 0;
    WriteCheckpoint(folder_ / "model", config, CaseWeights(made));
    WriteCharacterTokenizer(folder_ / "model");
    std::ofstream text(folder_ / "tale.txt");
    for (int i = 0; i < 60; ++i)
      text << "the " << std::string(1, static_cast<char>('a' + i % 26)) << "at sat on the mat.\n";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string In(const std::string& name) const { return (folder_ / name).string(); }

  // 'train finetune' on the text, in runs/RUN.
  std::vector<std::string> Finetune(const std::string& run, int steps,
                                    const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train", "finetune", In("tale.txt"),     "--run",
                                          run,     "--steps",  absl::StrCat(steps)};
    for (const auto& [name, value] : {std::pair<std::string, std::string>{"--model", In("model")},
                                      {"--runs", In("runs")},
                                      {"--context", "32"},
                                      {"--batch", "4"},
                                      {"--learning-rate", "3e-3"},
                                      {"--save-every", "7"},
                                      {"--keep", "2"},
                                      {"--print-every", "1"},
                                      {"--seed", "5"},
                                      {"--threads", "1"}})
      arguments.insert(arguments.end(), {name, value});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // Of runs/RUN/log.csv, without the seconds.
  std::vector<std::string> Rows(const std::string& run) const {
    std::vector<std::string> rows;
    std::ifstream stream(folder_ / "runs" / run / "log.csv");
    for (std::string line; std::getline(stream, line);) rows.push_back(line.substr(0, line.rfind(',')));
    return rows;
  }
  static std::string Bytes(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  std::filesystem::path folder_;
};

}  // namespace blazon::service
