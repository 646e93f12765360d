// Pulling from a hub on loopback: what is fetched and where it lies (as the hub's Python client has it, by the golden
// that tests/reference/hub_cache.py makes), and what happens when the hub, the network, the disk or a name is not as it
// should be.
#include "service/hub/pull.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/service/hub/loopback_hub.h"

namespace blazon::service::hub {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

void WriteFile(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// Path -> the target of a link, the text of a ref, or the SHA-256 of a blob; what only one client keeps is left out.
std::map<std::string, std::string> Tree(const fs::path& cache) {
  std::map<std::string, std::string> tree;
  for (auto entry = fs::recursive_directory_iterator(cache); entry != fs::recursive_directory_iterator(); ++entry) {
    const std::string name = entry->path().lexically_relative(cache).string();
    if (entry->is_symlink()) {
      tree[name] = "-> " + fs::read_symlink(*entry).string();
    } else if (entry->is_regular_file() && !absl::StartsWith(name, ".locks") && name != "CACHEDIR.TAG") {
      const std::string text = Contents(*entry);
      tree[name] = absl::StrContains(name, "/refs/") ? text : "sha256:" + Sha256Hex(text);
    }
  }
  return tree;
}

class PullTest : public testing::Test {
 protected:
  PullTest() : folder_(fs::path(testing::TempDir()) / absl::StrCat("pull_test.", getpid())), cache_(folder_ / "cache") {
    fs::remove_all(folder_);
    weights_.resize(3 << 20);  // over the mebibyte that makes a try count as none
    for (size_t i = 0; i < weights_.size(); ++i) weights_[i] = static_cast<char>(i * 2654435761u >> 13);
    hub_.files = {{"config.json", {"{}", false}}, {"model.safetensors", {weights_, true}}};
  }
  ~PullTest() override { fs::remove_all(folder_); }

  absl::StatusOr<PulledModel> Pulled(const std::string& reference = "org/tiny", const std::string& token = "") {
    const auto http = MakeCurlClient(nullptr);
    const auto parsed = ParseModelReference(reference);
    if (!parsed.ok()) return parsed.status();
    auto client = HubClient::Create(hub_.endpoint(), {token}, http.get());
    if (!client.ok()) return client.status();
    PullOptions options;
    options.interrupted = [this] { return interrupted_.load(); };
    options.wait = [this](std::chrono::seconds time) {
      waits_.push_back(static_cast<int>(time.count()));
      return true;
    };
    options.on_note = [this](const std::string& note) { notes_.push_back(note); };
    options.on_progress = [this](const PullProgress& at) {
      progress_.push_back(at.done);
      total_ = at.total;
      if (at.done >= interrupt_at_) interrupted_ = true;
    };
    if (files_at_once_ > 1) options.connect = [] { return MakeCurlClient(nullptr); };
    options.files_at_once = files_at_once_;
    if (free_ >= 0) options.free_bytes = [this](const fs::path&) { return free_; };
    return Pull(*parsed, *client, cache_, options);
  }
  // The status of a pull that must fail, with nothing in the cache that a model could be loaded from.
  absl::Status Refused(const std::string& reference = "org/tiny", const std::string& token = "") {
    const absl::Status status = Pulled(reference, token).status();
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(fs::exists(Repository() / "refs"));
    EXPECT_FALSE(cache_.Find({"org/tiny", hub_.commit, "model.safetensors"}).ok());
    return status;
  }
  fs::path Repository() const { return cache_.RepositoryFolder("org/tiny"); }
  fs::path Partial() const { return Repository() / "blobs" / (Sha256Hex(weights_) + ".incomplete"); }

  fs::path folder_;
  Cache cache_;
  LoopbackHub hub_;
  std::string weights_;
  std::atomic<bool> interrupted_ = false;
  int64_t interrupt_at_ = INT64_MAX, free_ = -1, total_ = 0;
  int files_at_once_ = 1;
  std::vector<int64_t> progress_;
  std::vector<int> waits_;
  std::vector<std::string> notes_;
};

TEST_F(PullTest, LaysTheCacheOutAsThePythonClientDoes) {
  const auto golden = nlohmann::json::parse(std::ifstream(BLAZON_SOURCE_DIR "/tests/goldens/hub_cache.json"));
  hub_.commit = golden["commit"];
  hub_.files.clear();
  for (const auto& [name, file] : golden["files"].items()) hub_.files[name] = {file["content"], file["large"]};
  hub_.files["README.md"] = {"no part of a checkpoint", false};
  hub_.files["onnx/model.onnx"] = {"no part of a checkpoint", true};
  hub_.files["pytorch_model.bin"] = {"a pickle", true};
  const auto pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(Tree(cache_.folder()), golden["tree"]) << "made by: python tests/reference/hub_cache.py";
  EXPECT_EQ(pulled->path, cache_.Snapshot("org/tiny", hub_.commit));
  EXPECT_EQ(pulled->model.licence, "apache-2.0");
  EXPECT_EQ(Contents(pulled->path / "config.json"), hub_.files["config.json"].content);
  EXPECT_TRUE(fs::exists(cache_.folder() / "CACHEDIR.TAG"));

  hub_.hub().Forget();
  hub_.storage().Forget();
  const auto again = Pulled();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(hub_.hub().Count(""), 1) << "the list of files, and no file";
  EXPECT_EQ(hub_.storage().Count(""), 0);
  for (const PulledFile& file : again->files) EXPECT_EQ(file.fetched_bytes, 0) << file.name;
}

TEST_F(PullTest, GoesOnWhereTheConnectionWasCut) {
  hub_.fault = [cuts = 0](const Asked& asked, Reply& reply) mutable {
    if (absl::StartsWith(asked.target, "/blobs/") && ++cuts <= 2) reply.cut_after = cuts == 1 ? 100000 : 1500000;
  };
  const auto pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(Contents(pulled->path / "model.safetensors"), weights_);
  EXPECT_EQ(pulled->files.back().fetched_bytes, static_cast<int64_t>(weights_.size())) << "no byte twice";
  const std::vector<Asked> asked = hub_.storage().asked();
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_FALSE(asked[0].headers.contains("range"));
  EXPECT_EQ(asked[1].headers.at("range"), "bytes=100000-");
  EXPECT_EQ(asked[2].headers.at("range"), "bytes=1600000-");
  EXPECT_THAT(waits_, ElementsAre(1, 1)) << "more than a mebibyte had come: the second counts as a first";
  EXPECT_FALSE(fs::exists(Partial()));
}

TEST_F(PullTest, AServerThatDoesNotContinueBeginsAnew) {
  WriteFile(Partial(), weights_.substr(0, 1000));
  hub_.fault = [this](const Asked& asked, Reply& reply) {
    if (absl::StartsWith(asked.target, "/blobs/")) reply = {200, {}, weights_, std::string::npos, {}};
  };
  const auto pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(Contents(pulled->path / "model.safetensors"), weights_);
}

TEST_F(PullTest, UsesWhatAnEarlierProcessLeftIfItFits) {
  WriteFile(Partial(), weights_.substr(0, 2 << 20));
  auto pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(pulled->files.back().fetched_bytes, 1 << 20);

  // A left-over that is no part of the file: noticed by the digest, and fetched anew.
  for (const std::string& wrong : {std::string(1000, 'x'), std::string(weights_.size(), 'x'), weights_ + "more"}) {
    fs::remove_all(cache_.folder());
    WriteFile(Partial(), wrong);
    pulled = Pulled();
    ASSERT_TRUE(pulled.ok()) << pulled.status();
    EXPECT_EQ(Contents(pulled->path / "model.safetensors"), weights_);
  }
}

TEST_F(PullTest, ABlobOfAnotherSizeIsFetchedAnew) {
  WriteFile(cache_.Blob("org/tiny", {ContentDigest::Kind::kSha256, Sha256Hex(weights_)}), "cut short by a crash");
  const auto pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(Contents(pulled->path / "model.safetensors"), weights_);
}

TEST_F(PullTest, RefusesAWrongDigest) {
  hub_.fault = [](const Asked& asked, Reply& reply) {
    if (absl::StartsWith(asked.target, "/blobs/")) reply.body[12345] ^= 1;
  };
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("model.safetensors has the digest "));
  EXPECT_EQ(fs::file_size(Partial()), 0u) << "nothing of it is continued later";

  fs::remove_all(cache_.folder());
  hub_.fault = [](const Asked& asked, Reply& reply) {
    if (absl::EndsWith(asked.target, "/config.json")) reply.body = "[]";
  };
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("config.json has the digest "));
}

TEST_F(PullTest, RefusesAWrongSize) {
  hub_.fault = [](const Asked& asked, Reply& reply) {
    if (absl::StartsWith(asked.target, "/blobs/")) reply.body += "x";
  };
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("has 3145728 bytes in the hub's list, and 3145729"));
  EXPECT_FALSE(fs::exists(Partial()) && fs::file_size(Partial()) > 0) << "refused before its bytes are kept";

  // Without a length to judge by: too many bytes, too few.
  hub_.fault = [this](const Asked& asked, Reply& reply) {
    if (absl::StartsWith(asked.target, "/blobs/")) {
      reply = {200, {{"Transfer-Encoding", "chunked"}}, "", std::string::npos, {}};
      reply.body = absl::StrCat("300001\r\n", weights_, "x\r\n0\r\n\r\n");
    }
  };
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("and more came"));
  hub_.fault = [](const Asked& asked, Reply& reply) {
    if (absl::StartsWith(asked.target, "/blobs/")) {
      reply = {200, {{"Transfer-Encoding", "chunked"}}, "4\r\nabcd\r\n0\r\n\r\n", std::string::npos, {}};
    }
  };
  fs::remove_all(cache_.folder());
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("and 4 came"));
}

TEST_F(PullTest, TheTokenStaysWithTheHub) {
  ASSERT_TRUE(Pulled("org/tiny", "hf_secret").ok());
  ASSERT_GE(hub_.hub().asked().size(), 3u);
  for (const Asked& asked : hub_.hub().asked()) EXPECT_EQ(asked.headers.at("authorization"), "Bearer hf_secret");
  ASSERT_EQ(hub_.storage().asked().size(), 1u);
  EXPECT_FALSE(hub_.storage().asked()[0].headers.contains("authorization")) << "another port is another server";
}

TEST_F(PullTest, WaitsAndTriesAgain) {
  hub_.fault = [tries = 0](const Asked& asked, Reply& reply) mutable {
    if (++tries == 1) reply = {503, {}, "busy", std::string::npos, {}};
    if (tries == 2) reply = {429, {{"Retry-After", "7"}}, "", std::string::npos, {}};
    if (tries == 3) reply = {500, {}, "", std::string::npos, {}};
  };
  const auto pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_THAT(waits_, ElementsAre(1, 7, 4));
  EXPECT_THAT(notes_[1], HasSubstr("too many requests (429); trying again in 7 s"));

  waits_.clear();
  fs::remove_all(cache_.folder());
  hub_.fault = [](const Asked& asked, Reply& reply) {
    if (absl::StartsWith(asked.target, "/blobs/")) reply = {503, {}, "", std::string::npos, {}};
  };
  const absl::Status status = Refused();
  EXPECT_THAT(waits_, ElementsAre(1, 2, 4, 8, 16));
  EXPECT_THAT(std::string(status.message()), HasSubstr("(503); given up after 6 tries. The same command goes on"));
}

TEST_F(PullTest, SaysWhatMayBeWrongAndWhatToDo) {
  const auto answered = [this](int status, const char* code, const std::string& token = "") {
    hub_.fault = [=](const Asked&, Reply& reply) {
      reply = {status, {{"X-Error-Code", code}}, "<html>", std::string::npos, {}};
    };
    return std::string(Refused("org/tiny", token).message());
  };
  EXPECT_THAT(
      answered(401, "RepoNotFound"),
      HasSubstr("org/tiny does not exist at 127.0.0.1, or is not open to you: there is no token in HF_TOKEN (401)"));
  EXPECT_THAT(answered(401, "", "hf_old"), HasSubstr("the token in HF_TOKEN does not give access (401)"));
  EXPECT_THAT(answered(404, "RepoNotFound"), HasSubstr("there is no org/tiny at main on 127.0.0.1 (404)"));
  EXPECT_THAT(answered(404, "RevisionNotFound"), HasSubstr("org/tiny has no revision main (404)"));
  EXPECT_THAT(answered(418, ""), HasSubstr("status 418"));

  // A model whose list is open and whose files are not.
  hub_.gated = "\"manual\"";
  hub_.fault = [](const Asked& asked, Reply& reply) {
    if (absl::StrContains(asked.target, "/resolve/")) {
      reply = {403, {{"X-Error-Code", "GatedRepo"}}, "", std::string::npos, {}};
    }
  };
  const std::string gated(Refused("org/tiny", "hf_mine").message());
  EXPECT_THAT(gated,
              HasSubstr("is for those who accepted its terms, and the token in HF_TOKEN does not give access (403)"));
  EXPECT_THAT(gated, HasSubstr(absl::StrCat("accept them at ", hub_.endpoint(), "/org/tiny")));
}

TEST_F(PullTest, NoConnection) {
  const auto http = MakeCurlClient(nullptr);
  std::string address;
  {
    address = LoopbackServer([](const Asked&) { return Reply(); }).address();
  }  // nobody listens there any more
  auto client = HubClient::Create(address, {}, http.get());
  ASSERT_TRUE(client.ok());
  PullOptions options;
  options.max_tries = 2;
  options.wait = [](std::chrono::seconds) { return true; };
  const absl::Status status = Pull({"org/tiny", "main", ""}, *client, cache_, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no connection to 127.0.0.1 (port "));
}

TEST_F(PullTest, ChecksForRoomFirst) {
  free_ = 2 << 20;
  const absl::Status status = Refused();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("needs 4 MiB more in "));
  EXPECT_EQ(hub_.storage().Count(""), 0);
  WriteFile(Partial(), weights_.substr(0, 2 << 20));
  EXPECT_TRUE(Pulled().ok()) << "what is there already needs no room";
}

TEST_F(PullTest, AnInterruptKeepsWhatIsThere) {
  interrupt_at_ = 1 << 20;
  EXPECT_EQ(Refused().code(), absl::StatusCode::kCancelled);
  const auto kept = static_cast<int64_t>(fs::file_size(Partial()));
  EXPECT_GE(kept, 1 << 20);
  EXPECT_LT(kept, 3 << 20);
  interrupt_at_ = INT64_MAX;
  interrupted_ = false;
  const auto pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(pulled->files.back().fetched_bytes, (3 << 20) - kept);
}

// Four large files and a small one, and as many requests under way as may be.
TEST_F(PullTest, FilesAreFetchedAtOnce) {
  files_at_once_ = 4;
  hub_.files.clear();
  const std::string index =
      R"({"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "3.safetensors", "d": "4.safetensors"}})";
  hub_.files = {{"config.json", {"{}", false}}, {"model.safetensors.index.json", {index, false}}};
  for (const char* name : {"1", "2", "3", "4"}) {
    hub_.files[absl::StrCat(name, ".safetensors")] = {name + weights_, true};
  }
  hub_.files["4.safetensors"] = hub_.files["3.safetensors"];  // one content under two names
  std::mutex mutex;
  std::condition_variable all_there;
  int under_way = 0;
  hub_.fault = [&](const Asked& asked, Reply&) {
    if (!absl::StartsWith(asked.target, "/blobs/")) return;
    std::unique_lock<std::mutex> lock(mutex);
    ++under_way;
    all_there.notify_all();
    EXPECT_TRUE(all_there.wait_for(lock, std::chrono::seconds(30), [&] { return under_way == 3; }))
        << "the next is asked for before the first is there";
  };
  const auto pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  for (const auto& [name, file] : hub_.files) EXPECT_EQ(Contents(pulled->path / name), file.content) << name;
  std::vector<std::string> names;
  int64_t fetched = 0;
  for (const PulledFile& file : pulled->files) {
    names.push_back(file.name);
    fetched += file.fetched_bytes;
  }
  EXPECT_THAT(names, ElementsAre("model.safetensors.index.json", "config.json", "1.safetensors", "2.safetensors",
                                 "3.safetensors", "4.safetensors"));
  EXPECT_EQ(fetched, total_ - static_cast<int64_t>(weights_.size()) - 1) << "one content is fetched once";
  EXPECT_TRUE(std::is_sorted(progress_.begin(), progress_.end()));
  EXPECT_EQ(progress_.back(), total_);
}

TEST_F(PullTest, WhatSeveralFilesHadIsKept) {
  files_at_once_ = 3;
  hub_.files.clear();
  for (const char* name : {"a", "b", "c"}) hub_.files[absl::StrCat(name, ".json")] = {name + weights_, true};
  hub_.files["model.safetensors"] = {weights_, true};
  hub_.fault = [](const Asked& asked, Reply& reply) {
    if (asked.target == "/blobs/b.json") reply.body[7] ^= 1;
  };
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("b.json has the digest "));
  hub_.fault = nullptr;
  int64_t there = 0;
  for (const auto& [name, file] : hub_.files) {
    const fs::path blob = Repository() / "blobs" / Sha256Hex(file.content);
    std::error_code error;
    if (fs::exists(blob)) there += static_cast<int64_t>(fs::file_size(blob));
    const auto part = fs::file_size(absl::StrCat(blob.string(), ".incomplete"), error);
    if (!error) there += static_cast<int64_t>(part);
  }
  progress_.clear();
  const auto pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  int64_t fetched = 0;
  for (const PulledFile& file : pulled->files) fetched += file.fetched_bytes;
  EXPECT_EQ(fetched, total_ - there);
  EXPECT_EQ(progress_.front(), there) << "what was there is not counted as fetched now";
  EXPECT_EQ(progress_.back(), total_);
}

TEST_F(PullTest, HostileNamesAreRefused) {
  for (const char* name :
       {"../evil.json", "/etc/evil.json", "a/../../evil.json", "a//b.json", "./config.json", "a/./b.json", "..", "",
        "evil\\..\\x.json", "line\nbreak.json", "\x1b[2Jevil.json", "dir/"}) {
    hub_.files = {{"config.json", {"{}", false}}, {"model.safetensors", {weights_, true}}, {name, {"x", false}}};
    const absl::Status status = Refused();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << name << ": " << status;
    EXPECT_FALSE(fs::exists(cache_.folder())) << name << ": nothing may be written";
  }
  hub_.files = {{"a.json", {"{}", false}}, {"a.json/b.json", {"{}", false}}};
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("a.json is a file and a folder"));

  // An index that leads out of the folder, or to a pickle.
  for (const char* file : {"../../secret.safetensors", "pytorch_model.bin", "absent.safetensors"}) {
    hub_.files = {
        {"pytorch_model.bin", {"x", true}},
        {"model.safetensors.index.json", {nlohmann::json({{"weight_map", {{"weight", file}}}}).dump(), false}}};
    EXPECT_EQ(Refused().code(), absl::StatusCode::kDataLoss) << file;
  }
}

TEST_F(PullTest, ALinkInTheSnapshotLeadsNothingElsewhere) {
  hub_.files["1_Pooling/config.json"] = {"{}", false};
  fs::create_directories(folder_ / "elsewhere");
  fs::create_directories(cache_.Snapshot("org/tiny", hub_.commit));
  fs::create_directory_symlink(folder_ / "elsewhere", cache_.Snapshot("org/tiny", hub_.commit) / "1_Pooling");
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("1_Pooling stands in the way"));
  EXPECT_TRUE(fs::is_empty(folder_ / "elsewhere"));

  // Nor does a link in the place of a partial file or of its lock.
  fs::remove_all(cache_.folder());
  WriteFile(folder_ / "precious", "untouched");
  fs::create_directories(Partial().parent_path());
  fs::create_symlink(folder_ / "precious", Partial());
  EXPECT_FALSE(Refused().ok());
  EXPECT_EQ(Contents(folder_ / "precious"), "untouched");
}

TEST_F(PullTest, AnAnswerThatIsNoHubsIsRefused) {
  const std::string good = hub_.Listing();
  const auto with = [&](const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json listing = nlohmann::json::parse(good);
    change(listing);
    return listing.dump();
  };
  for (const std::string& body :
       {std::string("<html>sign in</html>"), std::string("[]"), std::string("{}"), std::string(200000, '['),
        with([](auto& json) { json["sha"] = "../../../../etc"; }), with([](auto& json) { json.erase("siblings"); }),
        with([](auto& json) { json["siblings"][1]["lfs"]["sha256"] = "../../evil"; }),
        with([](auto& json) { json["siblings"][0]["blobId"] = nullptr; }),
        with([](auto& json) { json["siblings"][0]["size"] = -1; }),
        with([](auto& json) { json["siblings"][0]["size"] = 1e300; }),
        with([](auto& json) { json["siblings"][0]["rfilename"] = 7; }),
        with([](auto& json) { json["siblings"][0] = json["siblings"][1]; })}) {
    hub_.fault = [&](const Asked& asked, Reply& reply) {
      if (absl::StartsWith(asked.target, "/api/")) reply.body = body;
    };
    EXPECT_EQ(Refused().code(), absl::StatusCode::kDataLoss) << body.substr(0, 200);
  }
  hub_.fault = nullptr;
  EXPECT_EQ(Refused(absl::StrCat("org/tiny@", std::string(40, 'a'))).code(), absl::StatusCode::kDataLoss)
      << "another commit than was asked for";
}

TEST_F(PullTest, ChoosesWhatACheckpointNeeds) {
  // Weights in several files: those of the index.
  const std::string index =
      R"({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})";
  hub_.files = {{"config.json", {"{}", false}},
                {"model.safetensors.index.json", {index, false}},
                {"model-00001-of-00002.safetensors", {"one", true}},
                {"model-00002-of-00002.safetensors", {"two", true}},
                {"consolidated.safetensors", {"the same again", true}},
                {"pytorch_model.bin", {"a pickle", true}}};
  auto pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  std::vector<std::string> names;
  for (const PulledFile& file : pulled->files) names.push_back(file.name);
  EXPECT_THAT(names, ElementsAre("model.safetensors.index.json", "config.json", "model-00001-of-00002.safetensors",
                                 "model-00002-of-00002.safetensors"));

  // Pickles alone: never, neither by name.
  fs::remove_all(cache_.folder());
  hub_.files = {{"config.json", {"{}", false}}, {"pytorch_model.bin", {"a pickle", true}}};
  for (const char* reference : {"org/tiny", "org/tiny:pytorch_model.bin"}) {
    const std::string message(Refused(reference).message());
    EXPECT_THAT(message, HasSubstr("as pickles alone (pytorch_model.bin)"));
    EXPECT_THAT(message, HasSubstr("make convert IN=FOLDER OUT=FOLDER"));
  }

  // GGUF files: the only one, or the named one.
  hub_.files = {{"a-Q4_0.gguf", {"four", true}}};
  pulled = Pulled();
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(Contents(pulled->path / "a-Q4_0.gguf"), "four");
  fs::remove_all(cache_.folder());
  hub_.files["a-Q8_0.gguf"] = {"eight", true};
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("name one, as in org/tiny:a-Q4_0.gguf"));
  pulled = Pulled("org/tiny:a-Q8_0.gguf");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(Contents(pulled->path), "eight");
  EXPECT_EQ(*cache_.Find({"org/tiny", "main", "a-Q8_0.gguf"}), pulled->path);
  EXPECT_THAT(std::string(Pulled("org/tiny:none.gguf").status().message()),
              HasSubstr("It has a-Q4_0.gguf, a-Q8_0.gguf"));
}

TEST_F(PullTest, BranchesTagsAndCommits) {
  const auto pulled = Pulled("org/tiny@refs/pr/1");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(hub_.hub().asked()[0].target, "/api/models/org/tiny/revision/refs%2Fpr%2F1?blobs=true");
  EXPECT_EQ(Contents(Repository() / "refs/refs/pr/1"), hub_.commit);
  EXPECT_EQ(*cache_.Find({"org/tiny", "refs/pr/1", ""}), pulled->path);
  EXPECT_EQ(*cache_.Find({"org/tiny", hub_.commit, ""}), pulled->path);
  EXPECT_FALSE(cache_.Find({"org/tiny", "main", ""}).ok());

  // A branch that moves on: the new commit, with the old content where it is the same.
  ASSERT_TRUE(Pulled().ok());
  hub_.commit = std::string(40, 'b');
  hub_.files["config.json"].content = "{\"new\": 1}";
  hub_.storage().Forget();
  ASSERT_TRUE(Pulled().ok());
  EXPECT_EQ(hub_.storage().Count(""), 0);
  EXPECT_EQ(Contents(*cache_.Find({"org/tiny", "main", "config.json"})), "{\"new\": 1}");
}

}  // namespace
}  // namespace blazon::service::hub
