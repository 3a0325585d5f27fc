import Glibc
import RegionTesting
import Testing

extension EndToEnd {
  /// `mount`, `umount` and fstab, with the helpers where mount(8) looks for them. In a mount namespace of
  /// its own, in which `/sbin` has them: what is installed on the host is left alone.
  @Suite(.serialized) struct MountHelperTests {
    /// Runs a script in such a namespace; `$d` is a directory for it, `$PATH` has the programs.
    static func run(_ script: String, in scratch: Scratch) throws -> ProcessResult {
      let programs = Products.path("regionfs").split(separator: "/").dropLast().map { "/" + $0 }
        .joined()
      // /sbin is often a link into /usr: an overlay of the directory that it names.
      let prelude = """
        set -eu
        mkdir -p $d/work $d/mnt $d/store $d/cache
        mount -t tmpfs tmpfs $d/work && mkdir $d/work/upper $d/work/work
        cp '\(Programs.root)'/mount-helpers/* '\(programs)/regionfs' '\(programs)/regionfs-stat' \
            $d/work/upper/
        sbin=$(readlink -f /sbin)
        mount -t overlay overlay -o lowerdir=$sbin,upperdir=$d/work/upper,workdir=$d/work/work $sbin

        """
      return try ChildProcess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", prelude + script],
        environment: [
          "d": scratch.path, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        ])
    }

    @Test func mountByTypeAndPlainUmountThatWaits() throws {
      let scratch = try Scratch()
      let result = try Self.run(
        """
        mount -t fuse.regionfs file://$d/store $d/mnt -o cache_dir=$d/cache,push_interval=1h
        echo hello > $d/mnt/file
        umount $d/mnt
        # It waited: the store has the commit, and no daemon is left.
        mount -t fuse.regionfs file://$d/store $d/mnt -o cache_dir=$d/other,ro
        cat $d/mnt/file
        umount $d/mnt
        """, in: scratch)
      #expect(result.status == 0 && result.output == "hello\n", "\(result)")
    }

    @Test func linesOfFstab() throws {
      let scratch = try Scratch()
      let result = try Self.run(
        """
        mkdir $d/a $d/b
        { echo "file://$d/store $d/a fuse.regionfs _netdev,nofail,x-systemd.mount-timeout=1min,cache_dir=$d/cache 0 0"
          echo "file://$d/store $d/b fuse.regionfs noauto,user,ro,cache_dir=$d/other 0 0"; } > $d/fstab
        mount -T $d/fstab -a
        echo hello > $d/a/file
        regionfs sync $d/a
        # mount -a leaves alone what is mounted, and what is noauto.
        mount -T $d/fstab -a
        grep -c " $d/[ab] fuse.regionfs" /proc/mounts
        mount -T $d/fstab $d/b
        cat $d/b/file
        # user implies these.
        grep " $d/b fuse.regionfs" /proc/mounts | grep -o 'ro,nosuid,nodev,noexec'
        umount $d/b
        umount $d/a
        """, in: scratch)
      #expect(result.status == 0, "\(result)")
      #expect(result.output == "1\nhello\nro,nosuid,nodev,noexec\n", "\(result)")
    }

    @Test func aStoreThatIsMissingFailsWithTheReason() throws {
      let scratch = try Scratch()
      let result = try Self.run(
        """
        code=0
        mount -t fuse.regionfs nonsense $d/mnt || code=$?
        echo $code
        """, in: scratch)
      #expect(result.output == "1\n" && result.errors.contains("nonsense"), "\(result)")
    }

    /// As `nobody`, through fusermount3, with cache and control socket of its own.
    @Test func anotherUserMountsThroughFusermount() throws {
      let scratch = try Scratch()
      try ChildProcess.check(["chmod", "755", scratch.path])
      let result = try Self.run(
        """
        # As udev sets it; a host without udev may keep the device for root.
        mknod -m 666 $d/work/fuse c 10 229
        mount --bind $d/work/fuse /dev/fuse
        chmod 755 $d/work/upper
        mkdir $d/home $d/home/mnt $d/home/store && chown -R nobody $d/home
        cat > $d/script <<'END'
        set -eu
        cd
        mkdir -m 700 run
        regionfs mount file://$HOME/store mnt
        echo hello > mnt/file
        cat mnt/file
        stat -c %U mnt/file
        regionfs-stat mnt | grep -c 'file://'
        regionfs umount mnt
        regionfs mount file://$HOME/store mnt
        cat mnt/file
        END
        nobody() {
            setpriv --reuid=nobody --regid=nogroup --clear-groups env -i HOME=$d/home PATH=$PATH \\
                XDG_RUNTIME_DIR=$d/home/run "$@"
        }
        nobody sh $d/script
        # Without allow_other not even root may look.
        ls $d/home/mnt 2>/dev/null || echo closed
        nobody regionfs umount $d/home/mnt
        """, in: scratch)
      #expect(result.status == 0, "\(result)")
      #expect(result.output == "hello\nnobody\n1\nhello\nclosed\n", "\(result)")
    }
  }
}
