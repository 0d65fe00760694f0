// SPDX-License-Identifier: Apache-2.0
//
// plot.h: lease-bench plot FILE.
#ifndef BENCH_PLOT_H
#define BENCH_PLOT_H

// Exit status of the program.
int plot_main(int argc, char **argv);

#endif
