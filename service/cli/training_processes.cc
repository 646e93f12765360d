#include "service/cli/training_processes.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "service/cli/context.h"
#include "service/cli/interrupt.h"

extern char** environ;

namespace blazon::service::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kMostHere = 64;
constexpr std::chrono::seconds kLastWords{10};  // for a process to end after its connection did
constexpr std::chrono::milliseconds kPause{10};
// Tells a process that another one started it: that one's id, its own rank, how many there are, and the file where they
// meet.
constexpr char kStartedBy[] = "BLAZON_STARTED_BY";

struct StartedBy {
  pid_t id = 0;
  ProcessPlace place;
};

absl::StatusOr<std::optional<StartedBy>> ReadStartedBy() {
  const char* value = std::getenv(kStartedBy);
  if (value == nullptr) return std::nullopt;
  const std::vector<std::string> parts = absl::StrSplit(value, absl::MaxSplits(' ', 3));
  StartedBy started;
  if (parts.size() != 4 || !absl::SimpleAtoi(parts[0], &started.id) ||
      !absl::SimpleAtoi(parts[1], &started.place.rank) || !absl::SimpleAtoi(parts[2], &started.place.size)) {
    return absl::InvalidArgumentError(
        absl::StrCat(kStartedBy, " is of this program's own; take it out of the environment"));
  }
  started.place.file = parts[3];
  return started;
}

int Cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

int ProcessesHere(int started) {
  const char* value = std::getenv("LOCAL_WORLD_SIZE");
  int here = 0;
  return value != nullptr && absl::SimpleAtoi(value, &here) && here > 0 ? here : started;
}

std::string WordsOf(int file) {
  std::string words(4096, '\0');
  const off_t size = lseek(file, 0, SEEK_END);
  const ssize_t count = pread(file, words.data(), words.size(), std::max<off_t>(0, size - 4096));
  words.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return std::string(absl::StripAsciiWhitespace(words));
}

}  // namespace

void AddProcessesOption(CLI::App& command, int& processes) {
  command
      .add_option("--processes", processes,
                  "Train with so many processes of this machine, which share each step's data and the cores")
      ->check(CLI::Range(1, kMostHere))
      ->capture_default_str();
}

absl::StatusOr<std::unique_ptr<TrainingProcesses>> TrainingProcesses::Start(Context& context, int processes) {
  std::unique_ptr<TrainingProcesses> made(new TrainingProcesses());
  const absl::StatusOr<std::optional<StartedBy>> started = ReadStartedBy();
  if (!started.ok()) return started.status();
  absl::StatusOr<std::optional<ProcessPlace>> place = PlaceInEnvironment();
  if (!place.ok()) return place.status();
  if (*started) {
    // The first process's end is this one's, even where that one has no time to say so.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != (*started)->id) return absl::CancelledError("the process that started this one has ended");
    *place = (*started)->place;
  } else if (*place && processes > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--processes ", processes, " would start processes, and the environment's WORLD_SIZE says that ",
                     (*place)->size, " are started already; leave out one of both"));
  }
  const int all_here = ProcessesHere(*started ? (*started)->place.size : processes);
  if (context.models.threads == 0 && all_here > 1) context.models.threads = std::max(1, Cores() / all_here);
  if (!*place && processes > 1) {
    std::string folder = (fs::temp_directory_path() / "blazon-train-XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr)
      return absl::UnavailableError(absl::StrCat(folder, ": ", std::strerror(errno), "; set TMPDIR"));
    made->folder_ = folder;
    if (absl::Status status = made->StartOthers(context, processes); !status.ok()) return status;
    *place = ProcessPlace{.rank = 0, .size = processes, .file = (made->folder_ / "meeting").string()};
  }
  if (!*place) return made;
  auto group = ProcessGroup::Join(**place, [&] { return made->Watch(); });
  if (!group.ok()) return made->Finish(group.status());
  made->group_ = *std::move(group);
  made->Log()(absl::StrCat("process 0 of ", (*place)->size, " is ", getpid(), ", this one; --threads ",
                           context.models.threads));
  for (size_t i = 0; i < made->children_.size(); ++i)
    made->Log()(absl::StrCat("process ", i + 1, " of ", processes, " is ", made->children_[i].id));
  return made;
}

absl::Status TrainingProcesses::StartOthers(const Context& context, int processes) {
  std::vector<std::string> arguments = context.arguments;
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  children_.resize(static_cast<size_t>(processes - 1));
  for (int rank = 1; rank < processes; ++rank) {
    Child& child = children_[static_cast<size_t>(rank - 1)];
    std::string started =
        absl::StrCat(kStartedBy, "=", getpid(), " ", rank, " ", processes, " ", (folder_ / "meeting").string());
    std::vector<char*> variables;
    for (char** variable = environ; *variable != nullptr; ++variable) variables.push_back(*variable);
    variables.push_back(started.data());
    variables.push_back(nullptr);
    child.errors = memfd_create("errors", MFD_CLOEXEC);
    if (child.errors < 0) return absl::UnavailableError(absl::StrCat("memfd_create: ", std::strerror(errno)));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, child.errors, 2);
    const int error = posix_spawn(&child.id, "/proc/self/exe", &actions, nullptr, argv.data(), variables.data());
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      child.id = -1;
      return absl::UnavailableError(
          absl::StrCat("process ", rank, " of ", processes, " could not be started: ", std::strerror(error)));
    }
  }
  return absl::OkStatus();
}

std::function<void(const std::string&)> TrainingProcesses::Log() const {
  if (!first()) return [](const std::string&) {};
  return [](const std::string& line) { std::cerr << line << std::endl; };
}

void TrainingProcesses::Look() {
  for (Child& child : children_) {
    if (child.id > 0 && !child.ended) child.ended = waitpid(child.id, &child.wait_status, WNOHANG) == child.id;
  }
}

// Of several, the one that the others may have ended for.
const TrainingProcesses::Child* TrainingProcesses::Failed() const {
  const Child* failed = nullptr;
  int most = 0;
  for (const Child& child : children_) {
    if (!child.ended) continue;
    const bool interrupted = WIFEXITED(child.wait_status) && WEXITSTATUS(child.wait_status) == kInterrupted;
    const bool done = WIFEXITED(child.wait_status) && WEXITSTATUS(child.wait_status) == kDone;
    if (done || interrupted) continue;
    const int weight = WIFSIGNALED(child.wait_status)                                  ? 3
                       : absl::StrContains(WordsOf(child.errors), ProcessGroup::kLost) ? 1
                                                                                       : 2;
    if (weight > most) failed = &child;
    most = std::max(most, weight);
  }
  return failed;
}

std::string TrainingProcesses::Describe(const Child& child) const {
  std::string text =
      absl::StrCat("process ", &child - children_.data() + 1, " of ", children_.size() + 1, " (", child.id, ") ");
  if (WIFSIGNALED(child.wait_status)) {
    const int signal = WTERMSIG(child.wait_status);
    absl::StrAppend(&text, "was ended by signal ", signal, " (", strsignal(signal), ")",
                    signal == SIGKILL ? "; where memory runs out the system sends that" : "");
  } else {
    absl::StrAppend(&text, "ended with status ", WEXITSTATUS(child.wait_status));
  }
  if (const std::string words = WordsOf(child.errors); !words.empty()) absl::StrAppend(&text, ", and said: ", words);
  return text;
}

absl::Status TrainingProcesses::Watch() {
  if (Interrupted()) return absl::CancelledError("stopped before all processes were there");
  Look();
  for (const Child& child : children_) {
    if (child.ended) return absl::UnavailableError(Describe(child));
  }
  return absl::OkStatus();
}

absl::Status TrainingProcesses::Finish(const absl::Status& status) {
  if (children_.empty()) {
    const std::string self = group_ == nullptr ? "" : absl::StrCat("process ", group_->rank(), " of ", group_->size());
    if (status.ok() || self.empty() || absl::StartsWith(status.message(), self)) return status;
    return absl::Status(status.code(), absl::StrCat(self, ": ", status.message()));
  }
  // A process whose connection ended is about to end itself; after an error of this one's own nothing is waited for.
  const auto until = std::chrono::steady_clock::now() + kLastWords;
  const bool lost = absl::StrContains(status.message(), ProcessGroup::kLost);
  while (status.ok() || (lost && std::chrono::steady_clock::now() < until)) {
    Look();
    const bool all = std::all_of(children_.begin(), children_.end(), [](const Child& child) { return child.ended; });
    if (all || (lost && Failed() != nullptr)) break;
    std::this_thread::sleep_for(kPause);
  }
  if (!status.ok() && !lost) return status;
  const Child* const failed = Failed();
  if (failed == nullptr && status.ok() && !Interrupted()) {
    for (const Child& child : children_) {
      if (WEXITSTATUS(child.wait_status) == kInterrupted)
        return absl::CancelledError(absl::StrCat("process ", child.id, " was interrupted; all stopped, and saved"));
    }
  }
  if (failed == nullptr) return status;
  return absl::UnavailableError(
      absl::StrCat(Describe(*failed), status.ok() ? "" : ". The training stopped; checkpoints that it saved are good"));
}

TrainingProcesses::~TrainingProcesses() {
  for (Child& child : children_) {
    if (child.id > 0 && !child.ended) {
      kill(child.id, SIGKILL);
      waitpid(child.id, &child.wait_status, 0);
    }
    if (child.errors >= 0) close(child.errors);
  }
  std::error_code error;
  if (!folder_.empty()) fs::remove_all(folder_, error);
}

}  // namespace blazon::service::cli
