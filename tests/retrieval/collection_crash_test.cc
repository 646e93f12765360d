// A collection survives SIGKILL at any moment of adding, syncing, deleting and compacting: nothing acknowledged is
// lost, and a change that was under way is there whole or not at all. The test runs itself as the writer, which says
// over a pipe what it starts and what is done, and kills it 40 times; `make soak` kills it 200 times (BLAZON_KILLS).
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "retrieval/indexer.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

namespace fs = std::filesystem;

constexpr int kPaths = 60;

std::string program;

CollectionOptions Options(OpenMode mode) {
  CollectionOptions options = mode == OpenMode::kWrite ? WriteOptions() : ReadOptions();
  options.chunker.target_tokens = 32;  // several chunks a document
  return options;
}

std::string TextOf(const std::string& path, int64_t version) {
  std::string text;
  for (int i = 0; i < 12; ++i)
    absl::StrAppend(&text, "Sentence ", i, " of ", path, " says version", version, " once more. ");
  return text;
}

int Kills() {
  const char* text = std::getenv("BLAZON_KILLS");
  return text ? std::atoi(text) : 40;
}

void Say(const std::string& text) {
  if (write(STDOUT_FILENO, text.data(), text.size()) < 0) _exit(2);
}

int64_t VersionIn(const std::string& text) { return std::atoll(text.c_str() + text.find("says version") + 12); }

// The writer: changes without end, each announced and, when durable, acknowledged.
// - Put and Delete, each of one commit: "+path version" and "-path" a document, then "!".
// - A sync with a folder of files, a commit now and then: "~+path version" a file new or changed, "~-path" one that is
//   gone, then "=path" for each document that is durable, and "!".
int Write(const std::string& folder, unsigned seed) {
  const fs::path collection_folder = fs::path(folder) / "collection", files = fs::path(folder) / "files";
  absl::StatusOr<std::unique_ptr<Collection>> collection =
      Collection::Open(collection_folder, Options(OpenMode::kWrite));
  const auto failed = [](const absl::Status& status) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 1;
  };
  if (!collection.ok()) return failed(collection.status());
  std::mt19937 random(seed);
  for (int64_t version = seed * 1000000ll;; ++version) {
    std::string announcement;
    absl::Status status;
    const unsigned kind = random() % 8;
    const int64_t vectors_before = (*collection)->Stats()->vectors;
    int64_t added = 0;
    if (kind < 2) {
      std::vector<std::string> deleted;
      for (unsigned i = 0; i < 1 + random() % 12; ++i) {
        const std::string path = absl::StrCat("d", random() % kPaths);
        deleted.push_back(DocumentId("tests", path));
        absl::StrAppend(&announcement, "-", path, "\n");
      }
      Say(announcement);
      status = (*collection)->Delete(deleted).status();
    } else if (kind < 6) {
      std::map<std::string, Document> put;
      for (unsigned i = 0; i < 1 + random() % 5; ++i) {
        const std::string path = absl::StrCat("d", random() % kPaths);
        if (put.emplace(path, TextDocument(path, TextOf(path, version))).second)
          absl::StrAppend(&announcement, "+", path, " ", version, "\n");
      }
      Say(announcement);
      std::vector<Document> documents;
      for (auto& [path, document] : put) documents.push_back(std::move(document));
      added = static_cast<int64_t>(documents.size());
      status = (*collection)->Put(documents).status();
    } else {
      // What an earlier writer left is told again, as it may have been killed before it could say so.
      fs::create_directories(files);
      for (unsigned i = 0; i < 1 + random() % 8; ++i) {
        const std::string path = absl::StrCat("f", random() % kPaths, ".txt");
        if (random() % 3 == 0) {
          fs::remove(files / path);
        } else {
          WriteFile(files / ".new", TextOf(path, version));  // no half files
          fs::rename(files / ".new", files / path);
        }
      }
      for (int i = 0; i < kPaths; ++i) {
        const std::string path = absl::StrCat("f", i, ".txt");
        if (fs::exists(files / path)) {
          absl::StrAppend(&announcement, "~+", path, " ", VersionIn(ReadFile(files / path)), "\n");
        } else {
          absl::StrAppend(&announcement, "~-", path, "\n");
        }
      }
      Say(announcement);
      IndexerOptions indexing;
      indexing.prune = true;
      indexing.commit_text_bytes = 2000;
      indexing.acknowledged = [&](const std::string&, const std::string& path, PutOutcome) {
        Say(absl::StrCat("=", path, "\n"));
      };
      status = Indexer(**collection, indexing).Add({files}).status();
    }
    if (!status.ok()) return failed(status);
    // A change that leaves fewer vectors than there were has compacted a segment.
    const bool compacted = (*collection)->Stats()->vectors < vectors_before + added;
    Say(compacted ? "!compacted\n" : "!\n");
  }
}

using State = std::map<std::string, int64_t>;  // path -> version

// What the writer has said, and what may be true of it.
struct History {
  State state;                             // what was acknowledged
  std::vector<std::string> change;         // under way, of one commit
  std::map<std::string, int64_t> syncing;  // under way: what each file's document is to become; 0: gone
  int64_t acknowledged = 0, compactions = 0, syncs = 0;

  void Hear(const std::string& line) {
    std::istringstream words(line);
    std::string path;
    int64_t version = 0;
    words >> path >> version;
    if (line[0] == '!') {
      Apply(change, state);
      for (const auto& [file, to] : syncing) Become(state, file, to);
      syncs += !syncing.empty();
      change.clear();
      syncing.clear();
      ++acknowledged;
      compactions += line == "!compacted";
    } else if (line[0] == '~') {
      syncing[path.substr(2)] = version;
    } else if (line[0] == '=') {
      Become(state, path.substr(1), syncing.at(path.substr(1)));
    } else {
      change.push_back(line);
    }
  }
  static void Become(State& state, const std::string& path, int64_t version) {
    if (version == 0) {
      state.erase(path);
    } else {
      state[path] = version;
    }
  }
  static void Apply(const std::vector<std::string>& change, State& state) {
    for (const std::string& line : change) {
      std::istringstream words(line.substr(1));
      std::string path;
      int64_t version = 0;
      words >> path >> version;
      Become(state, path, line[0] == '-' ? 0 : version);
    }
  }
  // Whether a collection with this content keeps what was acknowledged and holds nothing half.
  bool Allows(const State& found) const {
    State with_change = state;
    Apply(change, with_change);
    State rest = found;
    for (const auto& [path, to] : syncing) {  // each document by itself is as it was or as it is to become
      const auto now = found.find(path), before = state.find(path);
      const int64_t is = now == found.end() ? 0 : now->second, was = before == state.end() ? 0 : before->second;
      if (is != to && is != was) return false;
      Become(rest, path, was);
    }
    return rest == state || rest == with_change;
  }
  bool under_way() const { return !change.empty() || !syncing.empty(); }
};

State Read(const Collection& collection) {
  State state;
  const auto page = collection.List(1000);
  EXPECT_TRUE(page.ok()) << page.status();
  for (const DocumentInfo& info : page->documents) {
    const auto document = collection.Get(info.id);
    EXPECT_TRUE(document.ok()) << document.status();
    const int64_t version = VersionIn(document->text);
    EXPECT_EQ(document->text, TextOf(info.path, version));
    EXPECT_GE(info.chunks, 2);
    EXPECT_TRUE(state.emplace(info.path, version).second) << info.path << " is there twice";
  }
  return state;
}

TEST(CollectionCrashTest, KillsLoseNothingAcknowledgedAndLeaveNothingHalf) {
  std::mt19937 random(7);
  const int kills = Kills();
  int during_change = 0, change_came_through = 0;
  double longest_opening = 0;
  int64_t acknowledged = 0, compactions = 0, syncs = 0;
  std::unique_ptr<TemporaryFolder> folder;
  History history;
  for (int kill_number = 0; kill_number < kills; ++kill_number) {
    if (kill_number % 25 == 0) {
      folder = std::make_unique<TemporaryFolder>();
      history = {};
    }
    const fs::path place = folder->path() / "collection";
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const std::string seed = absl::StrCat(kill_number + 1), where = folder->path().string();
    const pid_t child = fork();
    if (child == 0) {
      dup2(pipe_ends[1], STDOUT_FILENO);
      close(pipe_ends[0]);
      close(pipe_ends[1]);
      execl(program.c_str(), program.c_str(), "--write", where.c_str(), seed.c_str(), nullptr);
      _exit(127);
    }
    close(pipe_ends[1]);
    // Let it say a random number of things, then strike within the few milliseconds of the next change.
    std::string said;
    char buffer[4096];
    const unsigned wanted = random() % 60;
    unsigned heard = 0;
    while (heard < wanted) {
      const ssize_t count = read(pipe_ends[0], buffer, sizeof buffer);
      ASSERT_GT(count, 0) << "the writer ended by itself";
      said.append(buffer, static_cast<size_t>(count));
      heard += 1;
    }
    usleep(random() % 20000);  // a random moment, nothing is waited for
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself with " << WEXITSTATUS(status);
    for (ssize_t count; (count = read(pipe_ends[0], buffer, sizeof buffer)) > 0;)
      said.append(buffer, static_cast<size_t>(count));
    close(pipe_ends[0]);
    std::istringstream lines(said);
    for (std::string line; std::getline(lines, line);) history.Hear(line);

    // A reader first, as the dead writer left it; then the next writer, which clears up.
    for (const OpenMode mode : {OpenMode::kRead, OpenMode::kWrite}) {
      const auto start = std::chrono::steady_clock::now();
      auto collection = Collection::Open(place, Options(mode));
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      if (absl::IsNotFound(collection.status())) {  // killed before there was one
        ASSERT_TRUE(history.state.empty());
        break;
      }
      ASSERT_TRUE(collection.ok()) << collection.status();
      longest_opening = std::max(longest_opening, seconds.count());
      ASSERT_TRUE((*collection)->Verify().ok()) << (*collection)->Verify();
      const State found = Read(**collection);
      ASSERT_TRUE(history.Allows(found)) << "after kill " << kill_number;
      during_change += mode == OpenMode::kRead && history.under_way();
      change_came_through += mode == OpenMode::kRead && found != history.state;
      for (const auto& [path, version] : found) {
        Query query;
        query.text = absl::StrCat(path, " version", version);
        query.count = 3;
        const auto hits = (*collection)->Search(query);
        ASSERT_TRUE(hits.ok()) << hits.status();
        ASSERT_FALSE(hits->empty());
        for (const ScoredChunk& hit : *hits) {
          const std::string text = TextOf(hit.path, found.at(hit.path));
          ASSERT_EQ(text.substr(hit.span.begin, hit.span.size()), hit.text);
        }
      }
      if (mode == OpenMode::kWrite) {
        int64_t files = 0;
        for (const auto& entry : fs::directory_iterator(place))
          files += entry.path().string().find("segment-") != std::string::npos;
        ASSERT_EQ(files, 2 * (*collection)->Stats()->segments) << "left-overs were not removed";
      }
      history.state = found;
      history.change.clear();
      history.syncing.clear();
    }
    acknowledged += std::exchange(history.acknowledged, 0);
    compactions += std::exchange(history.compactions, 0);
    syncs += std::exchange(history.syncs, 0);
  }
  std::printf(
      "%d kills, %lld changes acknowledged (%lld syncs, %lld that compacted); %d kills came during a change, %d of "
      "those "
      "changes were there afterwards, whole or, of a sync, in whole documents; the longest opening took %.3f s\n",
      kills, static_cast<long long>(acknowledged), static_cast<long long>(syncs), static_cast<long long>(compactions),
      during_change, change_came_through, longest_opening);
  EXPECT_GT(during_change, kills / 4);
  EXPECT_GT(compactions, kills / 4);
  EXPECT_GT(syncs, kills / 4);
}

}  // namespace
}  // namespace blazon::retrieval

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--write")
    return blazon::retrieval::Write(argv[2], static_cast<unsigned>(std::atoi(argv[3])));
  blazon::retrieval::program = std::filesystem::read_symlink("/proc/self/exe").string();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
