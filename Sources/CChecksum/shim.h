// Intel ISA-L: CRC32C (`crc32_iscsi`) at memory speed.
#pragma once
#include <isa-l/crc.h>
