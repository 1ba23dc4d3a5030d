/* SPDX-License-Identifier: GPL-2.0-only */
/* Machine checks that raise no exception. */
#pragma once

/* On the CPU, which has its timers: mcheck_poll() each minute from now on. */
void mcheck_start_polling(void);
