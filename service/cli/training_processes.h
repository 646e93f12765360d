// The processes of one training: those that the environment names (torchrun's variables), or this one and more of the
// same command on this machine (--processes).
//
// The others print nothing and write nothing. Their standard error is kept, for the message in which this process says
// that one of them failed. They end when this one does, however it ends. Ctrl-C and SIGTERM to any of them are agreed
// upon: all stop after the same step.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/training/process_group.h"

namespace CLI {
class App;
}

namespace blazon::service::cli {

struct Context;

void AddProcessesOption(CLI::App& command, int& processes);

// Thread safety: none.
class TrainingProcesses {
 public:
  // Returns when all are there. Chooses the compute threads where the user has not: each process has its share of the
  // machine's cores. kInvalidArgument: `processes` is out of range, or the environment names a group too. Else as
  // ProcessGroup::Join, and what a process said that ended.
  static absl::StatusOr<std::unique_ptr<TrainingProcesses>> Start(Context& context, int processes);
  // Ends those that it started.
  ~TrainingProcesses();
  TrainingProcesses(const TrainingProcesses&) = delete;
  TrainingProcesses& operator=(const TrainingProcesses&) = delete;

  const std::shared_ptr<ProcessGroup>& group() const { return group_; }  // null: this process alone
  bool first() const { return group_ == nullptr || group_->rank() == 0; }
  // A line of progress: to standard error from the first process, nowhere from the others.
  std::function<void(const std::string&)> Log() const;

  // What became of the training, of which this process says `status`: waits for those that it started. When one of them
  // failed, that is the error, with what it said.
  absl::Status Finish(const absl::Status& status);

 private:
  struct Child {
    pid_t id = -1;
    int errors = -1;  // a file without a name: its standard error
    bool ended = false;
    int wait_status = 0;
  };
  TrainingProcesses() = default;
  absl::Status StartOthers(const Context& context, int processes);
  absl::Status Watch();  // kCancelled: Ctrl-C. kUnavailable: one has ended
  void Look();
  const Child* Failed() const;  // null: none
  std::string Describe(const Child& child) const;

  std::shared_ptr<ProcessGroup> group_;
  std::vector<Child> children_;  // ranks 1 and on
  std::filesystem::path folder_;
};

}  // namespace blazon::service::cli
