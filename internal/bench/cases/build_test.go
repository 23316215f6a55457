package cases

import "testing"

func TestModules(t *testing.T) {
	t.Parallel()
	linked, err := LinkedBesides()
	if err != nil {
		t.Fatal(err)
	}
	if len(linked) == 0 || len(linked) > LinkedModules {
		t.Errorf("a program links %d modules beside the client's, the budget is %d: %v", len(linked), LinkedModules, linked)
	}
	listed, err := ListedBesides()
	if err != nil {
		t.Fatal(err)
	}
	if len(listed) == 0 || len(listed) > ListedModules {
		t.Errorf("%d modules come with the client, the budget is %d: %v", len(listed), ListedModules, listed)
	}
}

func TestBinary(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("the binaries are the same without the race detector")
	}
	folder := t.TempDir()
	client, err := Build(Consumer, folder)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Build(Plain, folder)
	if err != nil {
		t.Fatal(err)
	}
	ratio := float64(client.Size) / float64(plain.Size)
	t.Logf("%d and %d bytes, ratio %.3f", client.Size, plain.Size, ratio)
	if ratio > BinaryRatio {
		t.Errorf("the binary is %.3f of that without the client, the budget is %.2f", ratio, BinaryRatio)
	}
}
