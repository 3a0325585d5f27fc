// libfuse 3, low-level API. Only what Swift cannot import by itself is wrapped here.
#pragma once
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
