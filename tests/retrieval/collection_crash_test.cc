// A collection survives SIGKILL at any moment of indexing: nothing acknowledged is lost, and a change that was under
// way is there whole or not at all. The test runs itself as the writer, which says over a pipe what it starts and what
// is done, and kills it a hundred times.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <random>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

constexpr int kPaths = 60;
constexpr int kKills = 100;

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

// The writer: changes without end, each announced ("+path version" puts, "-path" deletes) and, when durable,
// acknowledged ("!").
int Write(const std::string& folder, unsigned seed) {
  absl::StatusOr<std::unique_ptr<Collection>> collection = Collection::Open(folder, Options(OpenMode::kWrite));
  if (!collection.ok()) {
    std::fprintf(stderr, "%s\n", std::string(collection.status().message()).c_str());
    return 1;
  }
  std::mt19937 random(seed);
  for (int64_t version = seed * 1000000ll;; ++version) {
    std::map<std::string, Document> put;
    std::vector<std::string> deleted;
    std::string announcement;
    const bool deletes = random() % 4 == 0;
    for (unsigned i = 0; i < 1 + random() % 5; ++i) {
      const std::string path = absl::StrCat("d", random() % kPaths);
      if (deletes) {
        deleted.push_back(DocumentId("tests", path));
        absl::StrAppend(&announcement, "-", path, "\n");
      } else if (put.emplace(path, TextDocument(path, TextOf(path, version))).second) {
        absl::StrAppend(&announcement, "+", path, " ", version, "\n");
      }
    }
    if (write(STDOUT_FILENO, announcement.data(), announcement.size()) < 0) return 2;
    absl::Status status;
    if (deletes) {
      status = (*collection)->Delete(deleted).status();
    } else {
      std::vector<Document> documents;
      for (auto& [path, document] : put) documents.push_back(std::move(document));
      status = (*collection)->Put(documents).status();
    }
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
      return 3;
    }
    if (write(STDOUT_FILENO, "!\n", 2) < 0) return 2;
  }
}

using State = std::map<std::string, int64_t>;  // path -> version

void Apply(const std::vector<std::string>& change, State& state) {
  for (const std::string& line : change) {
    std::istringstream words(line.substr(1));
    std::string path;
    int64_t version = 0;
    words >> path >> version;
    if (line[0] == '-') {
      state.erase(path);
    } else {
      state[path] = version;
    }
  }
}

State Read(const Collection& collection) {
  State state;
  const auto page = collection.List(1000);
  EXPECT_TRUE(page.ok()) << page.status();
  for (const DocumentInfo& info : page->documents) {
    const auto document = collection.Get(info.id);
    EXPECT_TRUE(document.ok()) << document.status();
    const size_t at = document->text.find("says version");
    const int64_t version = std::atoll(document->text.c_str() + at + 12);
    EXPECT_EQ(document->text, TextOf(info.path, version));
    EXPECT_GE(info.chunks, 2);
    state[info.path] = version;
  }
  return state;
}

TEST(CollectionCrashTest, AHundredKillsLoseNothingAcknowledgedAndLeaveNothingHalf) {
  std::mt19937 random(7);
  int during_change = 0, change_came_through = 0;
  int64_t acknowledged = 0;
  std::unique_ptr<TemporaryFolder> folder;
  State state;
  for (int kill_number = 0; kill_number < kKills; ++kill_number) {
    if (kill_number % 25 == 0) {
      folder = std::make_unique<TemporaryFolder>();
      state.clear();
    }
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const std::string seed = absl::StrCat(kill_number + 1), place = folder->path().string();
    const pid_t child = fork();
    if (child == 0) {
      dup2(pipe_ends[1], STDOUT_FILENO);
      close(pipe_ends[0]);
      close(pipe_ends[1]);
      execl(program.c_str(), program.c_str(), "--write", place.c_str(), seed.c_str(), nullptr);
      _exit(127);
    }
    close(pipe_ends[1]);
    // Let it say a random number of things, then strike within the few milliseconds of the next change.
    std::string said;
    char buffer[4096];
    const unsigned wanted = random() % 40;
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

    std::vector<std::string> change;
    std::istringstream lines(said);
    for (std::string line; std::getline(lines, line);) {
      if (line != "!") {
        change.push_back(line);
        continue;
      }
      Apply(change, state);
      change.clear();
      ++acknowledged;
    }
    State with_change = state;
    Apply(change, with_change);

    // A reader first, as the dead writer left it; then the next writer, which clears up.
    for (const OpenMode mode : {OpenMode::kRead, OpenMode::kWrite}) {
      auto collection = Collection::Open(folder->path(), Options(mode));
      if (absl::IsNotFound(collection.status())) {  // killed before there was one
        ASSERT_TRUE(state.empty());
        break;
      }
      ASSERT_TRUE(collection.ok()) << collection.status();
      ASSERT_TRUE((*collection)->Verify().ok()) << (*collection)->Verify();
      const State found = Read(**collection);
      ASSERT_TRUE(found == state || found == with_change) << "after kill " << kill_number;
      during_change += mode == OpenMode::kRead && !change.empty();
      change_came_through += mode == OpenMode::kRead && found != state;
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
        for (const auto& entry : std::filesystem::directory_iterator(folder->path()))
          files += entry.path().string().find("segment-") != std::string::npos;
        ASSERT_EQ(files, (*collection)->Stats()->segments) << "left-overs were not removed";
      }
      state = found;
      with_change = found;
    }
  }
  std::printf(
      "%d kills, %lld changes acknowledged; %d kills came during a change, %d of those changes were there afterwards, "
      "whole\n",
      kKills, static_cast<long long>(acknowledged), during_change, change_came_through);
  EXPECT_GT(during_change, kKills / 4);
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
