// Ctrl-C and SIGTERM: the first ends the command cleanly, a second one ends the process at once.
#pragma once

namespace blazon::service::cli {

void WatchForInterrupt();
bool Interrupted();
// Forgets the first and watches again: where Ctrl-C ends one answer and not the command.
void ResetInterrupt();

}  // namespace blazon::service::cli
