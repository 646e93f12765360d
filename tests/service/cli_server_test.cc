// The commands that take --server say the same through a server as by themselves, timings apart.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/service/child_process.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// What does not have to be equal: times, a collection's name (a folder here, a name there), and what is known of a
// model only once it is loaded.
Json Comparable(Json json) {
  if (json.contains("models")) {
    for (Json& model : json["models"]) model = {{"name", model["name"]}, {"source", model["source"]}};
  }
  if (json.contains("collection")) json["collection"].erase("name");
  json.erase("timings");
  return json;
}

std::vector<Json> Lines(const std::string& output) {
  std::vector<Json> lines;
  std::istringstream in(output);
  for (std::string line; std::getline(in, line);) lines.push_back(Comparable(Json::parse(line, nullptr, false)));
  return lines;
}

// What is printed as errors but progress, which comes as time goes.
std::vector<std::string> Complaints(const std::string& errors) {
  std::vector<std::string> complaints;
  std::istringstream in(errors);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("blazon: ")) complaints.push_back(line);
  }
  return complaints;
}

class CliServerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / absl::StrCat("cli_server_test.", getpid());
    fs::create_directories(folder_ / "documents");
    Write("documents/garden.md", "# Garden\n\nThe blue gate is locked at nine in the evening.\n");
    Write("documents/boat.txt", "The boat weighs 120 kilograms. Its sail was sewn by Mara Lindt in 1988.\n");
    Write("documents/empty.txt", "");
    Write("documents/binary.txt", std::string(100, '\0'));
    Write("documents/picture.xyz", "not a document");
    fs::create_directories(folder_ / "adapters");
    fs::copy(kAnswerer, folder_ / "adapters/judge");
    server_ = std::make_unique<BlazonProcess>(std::vector<std::string>{"serve", "--data", Path("data"), "--address",
                                                                       "127.0.0.1:0", "--adapters", Path("adapters"),
                                                                       "--reranker", kReranker});
    const std::string said = server_->WaitForErrors("listening on", 60);
    std::smatch match;
    ASSERT_TRUE(std::regex_search(said, match, std::regex("listening on ([0-9.:]+);"))) << said;
    address_ = match[1];
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string Write(const std::string& name, const std::string& contents) const {
    std::ofstream(folder_ / name, std::ios::binary) << contents;
    return Path(name);
  }

  // Runs the command both ways and expects the same status, errors and JSON.
  void ExpectSame(std::vector<std::string> command, int status, const std::string& input = "") const {
    SCOPED_TRACE(absl::StrJoin(command, " "));
    command.push_back("--json");
    std::vector<std::string> here = command, there = command;
    if (command[0] == "index" || command[0] == "ask") {
      here.insert(here.end(), {"--collection", Path("notes")});
      there.insert(there.end(), {"--collection", "notes"});
    }
    there.insert(there.end(), {"--server", address_});
    const Finished by_itself = RunBlazon(here, input), by_server = RunBlazon(there, input);
    EXPECT_EQ(by_itself.status, status) << by_itself.errors;
    EXPECT_EQ(by_server.status, status) << by_server.errors;
    EXPECT_EQ(Lines(by_server.output), Lines(by_itself.output));
    EXPECT_EQ(Complaints(by_server.errors), Complaints(by_itself.errors));
  }

  Finished OnServer(std::vector<std::string> command) const {
    command.insert(command.end(), {"--server", address_});
    return RunBlazon(command);
  }

  // Of random weights; tests/reference/cross_encoder_goldens.py makes it.
  static constexpr char kReranker[] = BLAZON_SOURCE_DIR "/tests/goldens/cross_encoder";
  static constexpr char kAnswerer[] = BLAZON_SOURCE_DIR "/assets/answerer";  // an adapter of the default model
  fs::path folder_;
  std::unique_ptr<BlazonProcess> server_;
  std::string address_;
};

// Restores a variable of the environment at its end.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = getenv(name)) before_ = before;
    value == nullptr ? unsetenv(name) : setenv(name, value, 1);
  }
  ~Variable() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

#ifndef __SANITIZE_ADDRESS__  // under which the program starts once only
TEST_F(CliServerTest, ThreadsWaitPassivelyUnlessTheUserChose) {
  const auto environment = [&](const char* policy, const char* spins) {
    const Variable a("OMP_WAIT_POLICY", policy), b("GOMP_SPINCOUNT", spins);
    BlazonProcess server({"serve", "--data", Path("other"), "--address", "127.0.0.1:0"});
    EXPECT_NE(server.WaitForErrors("listening on", 60), "");
    return server.Environment();
  };
  EXPECT_NE(environment(nullptr, nullptr).find("OMP_WAIT_POLICY=PASSIVE"), std::string::npos);
  EXPECT_NE(environment("ACTIVE", nullptr).find("OMP_WAIT_POLICY=ACTIVE"), std::string::npos);
  EXPECT_EQ(environment(nullptr, "100").find("OMP_WAIT_POLICY"), std::string::npos);
}
#endif

TEST_F(CliServerTest, AdaptersAreNamedOnAServerAndFoldersHere) {
  EXPECT_EQ(OnServer({"models", "adapters"}).output, "can be loaded: judge\n");
  const std::vector<std::string> generate = {"generate", "--max-new-tokens", "6", "--json", "One day,"};
  const auto with = [](std::vector<std::string> command, const std::string& adapter) {
    command.insert(command.end(), {"--adapter", adapter});
    return command;
  };
  Finished refused = OnServer(with(generate, "kind"));
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.errors, "blazon: adapter \"kind\" is not loaded; none is\n");

  const Finished loaded = OnServer({"models", "load-adapter", "judge", "--name", "kind", "--json"});
  ASSERT_EQ(loaded.status, 0) << loaded.errors;
  const Json adapter = Json::parse(loaded.output)["adapter"];
  EXPECT_EQ(adapter["source"], "judge");
  const std::string listed = OnServer({"models", "adapters"}).output;
  EXPECT_TRUE(listed.starts_with("kind ")) << listed;

  const Finished there = OnServer(with(generate, "kind")), here = RunBlazon(with(generate, kAnswerer));
  ASSERT_EQ(there.status, 0) << there.errors;
  ASSERT_EQ(here.status, 0) << here.errors;
  const Json by_server = Json::parse(there.output), by_itself = Json::parse(here.output);
  EXPECT_EQ(by_server["text"], by_itself["text"]);
  EXPECT_EQ(by_server["adapter"], Json({{"name", "kind"}, {"digest", adapter["digest"]}}));
  EXPECT_EQ(by_itself["adapter"], Json({{"name", "answerer"}, {"digest", adapter["digest"]}}));
  EXPECT_TRUE(Json::parse(OnServer(generate).output)["adapter"].is_null());
  const std::vector<std::string> score = {"score", "--prompt", "One day,", "--completion", " he", "--json"};
  EXPECT_EQ(Json::parse(OnServer(with(score, "kind")).output)["adapter"]["name"], "kind");

  EXPECT_EQ(OnServer({"models", "unload-adapter", "kind"}).status, 0);
  refused = OnServer(with(score, "kind"));
  EXPECT_EQ(refused.errors, "blazon: adapter \"kind\" is not loaded; none is\n");
  EXPECT_EQ(OnServer({"models", "load-adapter", "../documents"}).status, 1);
  EXPECT_EQ(OnServer(with({"tokenize", "x"}, "kind")).status, 2);
  EXPECT_EQ(RunBlazon({"models", "load-adapter", "judge"}).status, 1);
}

TEST_F(CliServerTest, RerankersOrderTheSameHereAndThere) {
  std::vector<std::string> add = {"index", "add", "--json"};
  for (const char* text : {"Bees make honey from nectar.", "The ferry leaves at noon.", "Honey is what bees make.",
                           "When does the ferry leave? It does at noon.", "Tomatoes are watered."})
    add.push_back(Write(absl::StrCat("short", add.size(), ".txt"), text));
  const auto both = [&](std::vector<std::string> here, std::vector<std::string> there) {
    here.insert(here.end(), {"--collection", Path("short")});
    there.insert(there.end(), {"--collection", "short", "--server", address_});
    return std::pair(RunBlazon(here), RunBlazon(there));
  };
  ASSERT_EQ(both(add, add).second.status, 0);
  std::vector<std::string> search = {"index", "search", "--json", "--count", "4", "what do bees make"}, here = search,
                           there = search;
  const Json plain = Lines(both(search, search).first.output).at(0);
  EXPECT_FALSE(plain.contains("reranker"));
  here.insert(here.end(), {"--reranker", kReranker});
  there.insert(there.end(), {"--rerank", "5"});
  const auto [by_itself, by_server] = both(here, there);
  ASSERT_EQ(by_itself.status, 0) << by_itself.errors;
  ASSERT_EQ(by_server.status, 0) << by_server.errors;
  EXPECT_EQ(Lines(by_server.output), Lines(by_itself.output));
  const Json ordered = Lines(by_itself.output).at(0);
  EXPECT_EQ(ordered["reranker"]["name"], "cross_encoder");
  ASSERT_EQ(ordered["results"].size(), 4u);
  std::vector<std::string> order, before;
  for (int i = 0; i < 4; ++i) {
    const double score = ordered["results"][i]["score"];
    EXPECT_TRUE(score > 0 && score < 1) << score;
    if (i > 0) {
      EXPECT_GE(ordered["results"][i - 1]["score"].get<double>(), score);
    }
    order.push_back(ordered["results"][i]["path"]);
    before.push_back(plain["results"][i]["path"]);
  }
  EXPECT_NE(order, before);

  const auto [nobody, few] =
      both({"index", "search", "--rerank", "20", "bees"}, {"index", "search", "--rerank", "5", "x"});
  EXPECT_EQ(nobody.status, 1);
  EXPECT_NE(nobody.errors.find("there is no reranker here"), std::string::npos) << nobody.errors;
  EXPECT_EQ(few.status, 1);
  EXPECT_NE(few.errors.find("rerank is 5; its range is count, which is 8"), std::string::npos) << few.errors;
  const Finished mixed = OnServer({"index", "search", "--collection", "short", "--reranker", kReranker, "bees"});
  EXPECT_EQ(mixed.status, 2);
  EXPECT_NE(mixed.errors.find("'blazon serve'"), std::string::npos) << mixed.errors;
  const Finished none =
      RunBlazon({"serve", "--data", Path("other"), "--address", "127.0.0.1:0", "--reranker", Path("documents")});
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.errors.find("config.json"), std::string::npos) << none.errors;
}

TEST_F(CliServerTest, SaysTheSame) {
  const Finished health = RunBlazon({"health", "--json", "--server", address_, "--wait", "120"});
  EXPECT_EQ(health.output, "{\"status\":\"SERVING\"}\n") << health.errors;
  ExpectSame({"models"}, 0);

  ExpectSame({"tokenize", "Hello, <|im_end|> world 42"}, 0);
  ExpectSame({"tokenize", "--decode", "19556", "28"}, 0);
  ExpectSame({"score", "--prompt", "The capital of France is", "--completion", " Paris"}, 0);
  ExpectSame({"embed", "a cat on a mat", "-"}, 0, "a kitten lies on the rug\n");
  ExpectSame(
      {"generate", "--seed", "7", "--temperature", "1", "--top-logprobs", "2", "--max-new-tokens", "8", "One day,"}, 0);
  ExpectSame({"generate", "--seed", "7", "--chat", "--max-new-tokens", "8", "What is the capital of France?"}, 0);
  ExpectSame({"generate", "--seed", "7", "--temperature", "1", "--num-sequences", "2", "--max-new-tokens", "6", "One"},
             0);
  ExpectSame({"generate", "--seed", "7", "--num-beams", "4", "--num-sequences", "2", "--echo", "--prompt-logprobs", "1",
              "--max-new-tokens", "6", "--token-ids", "504,3575,282"},
             0);
  for (const char* reasoning : {"show", "hide"}) {
    ExpectSame({"generate", "--seed", "7", "--reasoning", reasoning, "--max-new-tokens", "12",
                "Q: 2 + 2?\nA: <think>\nTwo twos.\n</think>\n\n4\n\nQ: 3 + 3?\nA: <think>\n"},
               0);
  }
  ExpectSame({"score", "--token-ids", "--prompt", "504 3575 282", "--completion", "[4649]"}, 0);
  ExpectSame({"generate", "--num-beams", "17", "x"}, 1);
  ExpectSame({"generate", "--token-ids", "60000"}, 1);
  ExpectSame({"generate", "--top-k", "60000", "x"}, 1);
  ExpectSame({"caption", "--seed", "7", absl::StrCat(BLAZON_SOURCE_DIR, "/assets/photos/cat.jpg"),
              Path("documents/boat.txt"), Path("missing.jpg")},
             1);

  ExpectSame({"index", "add", Path("documents"), Path("documents/boat.txt")}, 1);
  ExpectSame({"index", "add", Path("documents/boat.txt"), Path("documents/picture.xyz")}, 1);
  ExpectSame({"index", "add", "--language", "nl", "--metadata", "team=sea", Path("documents/boat.txt")}, 0);
  ExpectSame({"index", "add", "--language", "xq", Path("documents/boat.txt")}, 2);
  ExpectSame({"index", "list"}, 0);
  ExpectSame({"index", "stats"}, 0);
  for (const std::vector<std::string>& own : std::vector<std::vector<std::string>>{{"sync", "--dry-run"},
                                                                                   {"add", "--strict"},
                                                                                   {"add", "--chunk-tokens", "64"},
                                                                                   {"add", "--chunker", "sentence"},
                                                                                   {"add", "--preview"}}) {
    std::vector<std::string> command = {"index"};
    command.insert(command.end(), own.begin(), own.end());
    command.insert(command.end(), {"--collection", "notes", Path("documents")});
    const Finished refused = OnServer(command);
    EXPECT_EQ(refused.status, 1) << own[1];
    EXPECT_NE(refused.errors.find(own[1]), std::string::npos) << refused.errors;
  }
  ExpectSame({"index", "search", "when is the gate locked"}, 0);
  ExpectSame({"index", "search", "--mode", "words", "xylophone"}, 3);
  ExpectSame({"ask", "--seed", "7", "How much does the boat weigh?"}, 0);
  ExpectSame({"ask", "Which vaccine protects against measles?"}, 3);
  ExpectSame({"index", "delete", "boat.txt", "no such.txt"}, 3);
  fs::create_directories(folder_ / "tree/inner");
  Write("tree/a.txt", "The blue gate is locked at nine.\n");
  Write("tree/inner/b.txt", "The boat weighs 120 kilograms.\n");
  ExpectSame({"index", "sync", "--prune", Path("tree")}, 0);
  fs::remove_all(folder_ / "tree/inner");
  ExpectSame({"index", "sync", Path("tree")}, 0);
  ExpectSame({"index", "list", "--filter", "@path == 'inner/b.txt'"}, 0);
  ExpectSame({"index", "sync", "--prune", Path("tree")}, 0);
  ExpectSame({"index", "list", "--filter", "@path == 'inner/b.txt'"}, 3);

  server_->Signal(SIGTERM);
  const Finished stopped = server_->Wait();
  EXPECT_EQ(stopped.status, 0) << stopped.errors;
}

}  // namespace
}  // namespace blazon::service
