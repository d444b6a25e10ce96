// Ctrl-C: the first one asks the command to stop at the next chunk or token,
// the second one kills.
#ifndef CARAT_CLI_INTERRUPT_H_
#define CARAT_CLI_INTERRUPT_H_

namespace carat::cli {

/// From now on, SIGINT sets interrupted() once, then has its default effect.
void watch_interrupts();

/// Has SIGINT arrived? May be called from any thread.
bool interrupted();

}  // namespace carat::cli

#endif  // CARAT_CLI_INTERRUPT_H_
