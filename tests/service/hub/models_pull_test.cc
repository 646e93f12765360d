// blazon models pull, as a shell runs it, against a hub on loopback; and what it fetched, used by name without the
// network.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/service/child_process.h"
#include "tests/service/hub/loopback_hub.h"

namespace blazon::service::hub {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

class ModelsPullTest : public testing::Test {
 protected:
  ModelsPullTest() : cache_(fs::path(testing::TempDir()) / absl::StrCat("models_pull_test.", getpid())) {
    fs::remove_all(cache_);
    setenv("HF_HUB_CACHE", cache_.c_str(), 1);
    setenv("HF_ENDPOINT", hub_.endpoint().c_str(), 1);
    for (const char* name : {"HF_TOKEN", "HF_HUB_OFFLINE"}) unsetenv(name);
    hub_.card =
        R"({"license": "other", "license_name": "tiny-terms", "license_link": "https://example.com/\u001b[2Jterms"})";
    hub_.files = {{"config.json", {kConfig, false}}, {"model.safetensors", {Weights(), true}}};
  }
  ~ModelsPullTest() override { fs::remove_all(cache_); }

  // Zeros, of a GPT-2 of one layer.
  static std::string Weights() {
    json header;
    int64_t at = 0;
    const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
      int64_t bytes = 4;
      for (const int64_t size : shape) bytes *= size;
      header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {at, at + bytes}}};
      at += bytes;
    };
    add("wte.weight", {16, 8});
    add("wpe.weight", {4, 8});
    for (const char* norm : {"ln_f", "h.0.ln_1", "h.0.ln_2"}) {
      add(absl::StrCat(norm, ".weight"), {8});
      add(absl::StrCat(norm, ".bias"), {8});
    }
    const std::pair<const char*, std::pair<int64_t, int64_t>> matrices[] = {
        {"attn.c_attn", {8, 24}}, {"attn.c_proj", {8, 8}}, {"mlp.c_fc", {8, 32}}, {"mlp.c_proj", {32, 8}}};
    for (const auto& [name, size] : matrices) {
      add(absl::StrCat("h.0.", name, ".weight"), {size.first, size.second});
      add(absl::StrCat("h.0.", name, ".bias"), {size.second});
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const uint64_t length = text.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + text + std::string(static_cast<size_t>(at), '\0');
  }

  static constexpr char kConfig[] =
      R"({"model_type": "gpt2", "vocab_size": 16, "n_positions": 4, "n_embd": 8, "n_head": 2, "n_layer": 1})";
  fs::path cache_;
  LoopbackHub hub_;
};

TEST_F(ModelsPullTest, FetchesAndIsFoundByName) {
  const Finished run = RunBlazon({"models", "pull", "--json", "org/tiny"});
  ASSERT_EQ(run.status, 0) << run.errors;
  const json pulled = json::parse(run.output);
  EXPECT_EQ(pulled["commit"], hub_.commit);
  EXPECT_EQ(pulled["licence"], "other (tiny-terms)");
  EXPECT_EQ(pulled["fetched_bytes"], pulled["bytes"]);
  EXPECT_EQ(pulled["files"].size(), 2u);
  EXPECT_EQ(Contents(fs::path(pulled["path"].get<std::string>()) / "config.json"), kConfig);
  EXPECT_THAT(run.errors, HasSubstr("licence: other (tiny-terms), https://example.com/\\x1b[2Jterms\n"));
  EXPECT_LT(run.errors.find("licence: "), run.errors.find("must be fetched")) << "before anything is fetched";

  const Finished again = RunBlazon({"models", "pull", "--endpoint", hub_.endpoint() + "/", "org/tiny"});
  EXPECT_EQ(again.output, pulled["path"].get<std::string>() + "\n") << again.errors;
  EXPECT_THAT(again.errors, HasSubstr("of which 0 bytes must be fetched"));

  // By name, and without a word to the hub.
  hub_.hub().Forget();
  const Finished inspect = RunBlazon({"models", "inspect", "--json", "org/tiny"});
  ASSERT_EQ(inspect.status, 0) << inspect.errors << inspect.output;
  EXPECT_EQ(json::parse(inspect.output)["name"], "org/tiny");
  EXPECT_EQ(json::parse(inspect.output)["model_type"], "gpt2");
  const Finished list = RunBlazon({"models", "--json", "--model", "org/tiny"});
  EXPECT_THAT(list.output, HasSubstr("\"org/tiny\"")) << list.errors;
  const Finished generate = RunBlazon({"generate", "--model", "org/tiny", "x"});
  EXPECT_THAT(generate.errors, HasSubstr("tokenizer")) << "it was found, and lacks a tokenizer";
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"models", "inspect", "org/absent"}, {"generate", "--model", "org/absent", "x"}}) {
    const Finished absent = RunBlazon(command);
    EXPECT_EQ(absent.status, 1);
    EXPECT_THAT(absent.errors, HasSubstr("fetch it with 'blazon models pull org/absent'"));
  }
  EXPECT_EQ(hub_.hub().Count(""), 0);
}

TEST_F(ModelsPullTest, TokenAndRefusals) {
  setenv("HF_TOKEN", "hf_secret", 1);
  ASSERT_EQ(RunBlazon({"models", "pull", "org/tiny"}).status, 0);
  EXPECT_EQ(hub_.hub().asked()[0].headers.at("authorization"), "Bearer hf_secret");
  EXPECT_FALSE(hub_.storage().asked()[0].headers.contains("authorization"));

  const auto refused = [](const std::vector<std::string>& arguments, int status) {
    const Finished run = RunBlazon(arguments);
    EXPECT_EQ(run.status, status) << run.errors;
    EXPECT_EQ(run.output, "");
    EXPECT_THAT(run.errors, testing::Not(HasSubstr("hf_secret")));
    return run.errors;
  };
  EXPECT_THAT(refused({"models", "pull", "org/absent"}, 1),
              HasSubstr("there is no org/absent at main on 127.0.0.1 (404)"));
  EXPECT_THAT(refused({"models", "pull", "../../etc"}, 2), HasSubstr("is no name of a model"));
  EXPECT_THAT(refused({"models", "pull", "--endpoint", "hub", "org/tiny"}, 2),
              HasSubstr("is no http or https address"));
  EXPECT_THAT(refused({"models", "pull", "--server", "127.0.0.1:1", "org/tiny"}, 2), HasSubstr("leave out --server"));
  setenv("HF_HUB_OFFLINE", "1", 1);
  EXPECT_THAT(refused({"models", "pull", "org/tiny"}, 1), HasSubstr("HF_HUB_OFFLINE is set"));
}

TEST_F(ModelsPullTest, CtrlCKeepsWhatWasFetched) {
  const std::string weights = hub_.files["model.safetensors"].content;
  std::promise<void> sent, release;
  hub_.fault = [&](const Asked& asked, Reply& reply) {
    if (!absl::StartsWith(asked.target, "/blobs/") || asked.headers.contains("range")) return;
    reply.cut_after = 1000;
    reply.then = [&] {
      sent.set_value();
      release.get_future().wait();  // the connection stays open and silent
    };
  };
  BlazonProcess process({"models", "pull", "org/tiny"});
  sent.get_future().wait();
  const fs::path partial = cache_ / "models--org--tiny/blobs" / (Sha256Hex(weights) + ".incomplete");
  while (!fs::exists(partial) || fs::file_size(partial) < 1000) std::this_thread::yield();
  process.Signal(SIGINT);
  const Finished stopped = process.Wait();
  release.set_value();
  EXPECT_EQ(stopped.status, 130) << stopped.errors;
  EXPECT_THAT(stopped.errors, HasSubstr("what was fetched is kept"));
  EXPECT_EQ(fs::file_size(partial), 1000u);

  const Finished again = RunBlazon({"models", "pull", "--json", "org/tiny"});
  ASSERT_EQ(again.status, 0) << again.errors;
  EXPECT_EQ(hub_.storage().asked().back().headers.at("range"), "bytes=1000-");
  EXPECT_EQ(json::parse(again.output)["fetched_bytes"], weights.size() - 1000);
}

}  // namespace
}  // namespace blazon::service::hub
